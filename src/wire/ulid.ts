const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const timeDigits = 10;
const randomDigits = 16;

/**
 * Creates a ULID for a room or frame: the bus's time in milliseconds since 1970, then 80 random bits.
 * Shape: two ULIDs of the same millisecond have no order, because a monotonic id would be guessable.
 * Source: docs/protocol/frames.md.
 */
export function newUlid(nowMs: number = Date.now()): string {
  let text = "";
  for (let at = 0, rest = Math.floor(nowMs); at < timeDigits; at++, rest = Math.floor(rest / 32))
    text = digits[rest % 32] + text;
  // 32 divides 256, so the low five bits of a random byte are uniformly random.
  for (const byte of crypto.getRandomValues(new Uint8Array(randomDigits))) text += digits[byte % 32];
  return text;
}

/** The creation time in a ULID. Shape: `id` is a ULID. Units: milliseconds since 1970. */
export function ulidTimeMs(id: string): number {
  let timeMs = 0;
  for (const digit of id.slice(0, timeDigits)) timeMs = timeMs * 32 + digits.indexOf(digit);
  return timeMs;
}
