/** Long tests are small in CI, and full when `npm run soak -- NAME` requests them. */

/** Reports whether a test runs in full. */
export function isSoak(name: string): boolean {
  return process.env.UNIBUS_SOAK === name;
}
