/** Keys under which any signature, or a known shared secret, is valid, in all their encodings. */

const hexOf = (value: bigint): string =>
  Buffer.from(value.toString(16).padStart(64, "0"), "hex").reverse().toString("hex");
/** The field prime of both curves. */
export const prime = 2n ** 255n - 19n;
const topBit = 2n ** 255n;
const numberOf = (hex: string): bigint => BigInt(`0x${Buffer.from(hex, "hex").reverse().toString("hex")}`);

const orderEight = {
  ed: [
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  ].map(numberOf),
  x: [
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
  ].map(numberOf),
};

/** Encodes each number below 2^255 that is congruent to one of the values, with the top bit clear and set. */
const written = (values: readonly bigint[]): string[] =>
  values
    .flatMap((value) => [value, value + prime].filter((one) => one < topBit))
    .flatMap((value) => [hexOf(value), hexOf(value + topBit)]);

/** Every encoding of an Ed25519 point whose order divides 8, canonical or not. */
export const smallOrderSignKeys: readonly string[] = written([0n, 1n, prime - 1n, ...orderEight.ed]);

/** Non-canonical encodings of other points: y is the prime or larger. */
export const looseSignKeys: readonly string[] = Array.from({ length: 17 }, (_, i) => prime + 2n + BigInt(i)).flatMap(
  (y) => [hexOf(y), hexOf(y + topBit)],
);

/** Every encoding of an X25519 point of low order, on the curve and on its twist. */
export const lowOrderKexKeys: readonly string[] = written([0n, 1n, prime - 1n, ...orderEight.x]);

const power = (base: bigint, exponent: bigint): bigint => {
  let [result, square] = [1n, base % prime];
  for (let rest = exponent; rest > 0n; rest >>= 1n, square = (square * square) % prime) {
    if (rest & 1n) result = (result * square) % prime;
  }
  return result;
};
const d = (prime - 121665n) * power(121666n, prime - 2n);

/** Reports whether 32 bytes are the canonical encoding of a point. Follows the decoding in RFC 8032 literally. */
export function decodes(key: string): boolean {
  const number = numberOf(key);
  const y = number % topBit;
  if (y >= prime) return false;
  const u = (y * y - 1n + prime) % prime;
  const v = (d * y * y + 1n) % prime;
  const candidate = (u * power(v, 3n) * power(u * power(v, 7n), (prime - 5n) / 8n)) % prime;
  const vxx = (v * candidate * candidate) % prime;
  if (vxx !== u && vxx !== (prime - u) % prime) return false;
  return !(u === 0n && number >= topBit);
}
