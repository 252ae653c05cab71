/** The oldest nats-server that unibus runs on. */
export const natsServerVersionMin = "2.12.7";

/**
 * Reports whether a version is at least `min`.
 * Shape: `MAJOR.MINOR.PATCH`; a suffix is ignored. A version that does not parse counts as older.
 */
export function versionAtLeast(version: string, min: string): boolean {
  const parts = (text: string) => (/^v?(\d+)\.(\d+)\.(\d+)/.exec(text) ?? []).slice(1).map(Number);
  const [have, want] = [parts(version), parts(min)];
  if (have.length !== 3) return false;
  for (let i = 0; i < 3; i++) {
    const difference = (have[i] ?? 0) - (want[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}
