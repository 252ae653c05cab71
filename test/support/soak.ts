/** Long tests are small in CI, and full where `npm run soak -- NAME` asks for them. */

/** Whether a test runs in full. */
export function isSoak(name: string): boolean {
  return process.env.UNIBUS_SOAK === name;
}
