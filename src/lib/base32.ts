/** Base32 in capitals, without padding (RFC 4648). */

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const digitBits = 5;

/** Cuts numbers of `from` bits into numbers of `to` bits. The last one is filled up with zeros. */
function* regrouped(numbers: Iterable<number>, from: number, to: number): Generator<number, undefined> {
  let [bits, count] = [0, 0];
  for (const number of numbers) {
    bits = (bits << from) | number;
    for (count += from; count >= to; bits &= (1 << count) - 1) {
      count -= to;
      yield bits >>> count;
    }
  }
  if (count > 0) yield bits << (to - count);
  return undefined;
}

/** Encodes bytes as base32. */
export function toBase32(bytes: Uint8Array): string {
  let text = "";
  for (const digit of regrouped(bytes, 8, digitBits)) text += alphabet[digit];
  return text;
}

/** Decodes base32. Returns null if the text is not the canonical encoding of its bytes. */
export function fromBase32(text: string): Uint8Array | null {
  const digits = [...text].map((letter) => alphabet.indexOf(letter));
  if (digits.includes(-1)) return null;
  const bytes = Uint8Array.from(regrouped(digits, digitBits, 8)).slice(0, Math.floor((text.length * digitBits) / 8));
  return toBase32(bytes) === text ? bytes : null;
}
