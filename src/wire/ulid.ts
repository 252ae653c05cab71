const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const timeDigits = 10;
const randomDigits = 16;

/**
 * A fresh ULID, for rooms and frames: the time, then 80 random bits. The time is the bus's, in milliseconds since 1970.
 * Shape: two of one millisecond are in no order; only so can nobody guess the next. Source: spec 4.
 */
export function newUlid(nowMs: number = Date.now()): string {
  let text = "";
  for (let at = 0, rest = Math.floor(nowMs); at < timeDigits; at++, rest = Math.floor(rest / 32))
    text = digits[rest % 32] + text;
  // 32 divides 256: five bits of a byte are as random as the byte.
  for (const byte of crypto.getRandomValues(new Uint8Array(randomDigits))) text += digits[byte % 32];
  return text;
}

/** When a ULID says that it was made. Shape: `id` is a ULID. Units: milliseconds since 1970. */
export function ulidTimeMs(id: string): number {
  let timeMs = 0;
  for (const digit of id.slice(0, timeDigits)) timeMs = timeMs * 32 + digits.indexOf(digit);
  return timeMs;
}
