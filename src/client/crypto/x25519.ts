/**
 * X25519 with big integers, for browsers without it: the ladder of RFC 7748, section 5. It does the same steps for
 * every private key, but the engine's arithmetic does not promise the same time.
 */
import { littleEndian } from "./ed25519.ts";

const prime = 2n ** 255n - 19n;
const keyBytes = 32;
const base = new Uint8Array(keyBytes).with(0, 9);

const mod = (number: bigint): bigint => ((number % prime) + prime) % prime;

/** The number by which a product is 1; 0 for 0. By Fermat's little theorem. */
function inverse(number: bigint): bigint {
  let [result, power] = [1n, number];
  for (let exponent = prime - 2n; exponent > 0n; exponent >>= 1n) {
    if ((exponent & 1n) === 1n) result = mod(result * power);
    power = mod(power * power);
  }
  return result;
}

/** Swaps two reduced numbers if the bit is 1. The factor is not 0 if it is 0, so that the steps are the same. */
function swapped(bit: bigint, one: bigint, other: bigint): [bigint, bigint] {
  const first = mod(one + (other - one) * (prime + bit));
  return [first, one + other - first];
}

/** The u coordinate of a multiple of the point with this u. */
function multiple(scalar: bigint, u: bigint): bigint {
  let [x2, z2, x3, z3, before] = [1n, 0n, u, 1n, 0n];
  for (let place = 254n; place >= 0n; place--) {
    const bit = (scalar >> place) & 1n;
    [x2, x3] = swapped(before ^ bit, x2, x3);
    [z2, z3] = swapped(before ^ bit, z2, z3);
    before = bit;
    const [sum, difference] = [x2 + z2, x2 - z2];
    const [da, cb] = [mod((x3 - z3) * sum), mod((x3 + z3) * difference)];
    const [aa, bb] = [mod(sum * sum), mod(difference * difference)];
    x3 = mod((da + cb) ** 2n);
    z3 = mod(u * mod((da - cb) ** 2n));
    x2 = mod(aa * bb);
    z2 = mod((aa - bb) * (aa + 121_665n * (aa - bb)));
  }
  [x2] = swapped(before, x2, x3);
  [z2] = swapped(before, z2, z3);
  return mod(x2 * inverse(z2));
}

/**
 * The secret of a private key and another public key, 32 bytes. Shape: 32 bytes each.
 * Errors: fails for a public key of low order, whose secret everyone knows.
 */
export function sharedSecret(priv: Uint8Array, pub: Uint8Array = base): Uint8Array {
  if (priv.length !== keyBytes || pub.length !== keyBytes) throw new TypeError("a kex key must have 32 bytes");
  const scalar = (littleEndian(priv) & (2n ** 254n - 8n)) | (2n ** 254n);
  let rest = multiple(scalar, mod(littleEndian(pub) & (2n ** 255n - 1n)));
  if (rest === 0n) throw new TypeError("the kex key has low order");
  return Uint8Array.from({ length: keyBytes }, () => {
    const byte = Number(rest & 0xffn);
    rest >>= 8n;
    return byte;
  });
}

/** The public key of a private key. Shape: 32 bytes each. */
export function publicKexOf(priv: Uint8Array): Uint8Array {
  return sharedSecret(priv);
}
