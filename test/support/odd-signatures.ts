/**
 * Signatures that only a malicious signer makes, with points of small order in them. Libraries judge some of them
 * differently, and RFC 8032 allows that. All peers must agree: `holds` is what OpenSSL and BoringSSL decide, which
 * compute R from the other values and compare its bytes.
 */
import { ED25519_TORSION_SUBGROUP, ed25519 } from "@noble/curves/ed25519.js";
import { sha512 } from "@noble/hashes/sha2.js";

/** One signature. Shape: the key in hex. */
export interface OddSignature {
  readonly what: string;
  readonly signPub: string;
  readonly text: string;
  readonly sig: Uint8Array;
  readonly holds: boolean;
}

const { Point } = ed25519;
const { ORDER } = Point.Fn;
type Curve = ReturnType<typeof Point.fromBytes>;

const numberOf = (bytes: Uint8Array): bigint => BigInt(`0x${Buffer.from(bytes).reverse().toString("hex")}`);
const bytesOf = (number: bigint): Uint8Array =>
  new Uint8Array(Buffer.from(number.toString(16).padStart(64, "0"), "hex").reverse());

/** A point of order 8, 4 or 2. */
const torsion = (index: number): Curve => Point.fromHex(ED25519_TORSION_SUBGROUP[index] ?? "");

interface Signer {
  readonly scalar: bigint;
  /** A point of small order that is added to the public key. */
  readonly inKey?: Curve;
}

/**
 * Signs as RFC 8032 does, with a nonce of the signer's choice, and adds a point of small order to R after or before the
 * challenge is computed from it.
 */
function signed({ scalar, inKey }: Signer, text: string, nonce: bigint, inR?: Curve): Omit<OddSignature, "what"> {
  const own = Point.BASE.multiply(scalar);
  const key = (inKey === undefined ? own : own.add(inKey)).toBytes();
  const honest = nonce === 0n ? Point.ZERO : Point.BASE.multiply(nonce);
  const r = (inR === undefined ? honest : honest.add(inR)).toBytes();
  const challenge = numberOf(sha512(Buffer.concat([r, key, Buffer.from(text)]))) % ORDER;
  const s = (nonce + challenge * scalar) % ORDER;
  // R' = S B - k A = R - k T: the bytes are equal only if k T is what was added to R.
  const found = honest.subtract(inKey === undefined ? Point.ZERO : inKey.multiplyUnsafe(challenge));
  const holds = Buffer.from(found.toBytes()).equals(Buffer.from(r));
  return { signPub: Buffer.from(key).toString("hex"), text, sig: Buffer.concat([r, bytesOf(s)]), holds };
}

/** The first of many texts whose signature is judged as wanted. */
function firstThat(wanted: boolean, make: (text: string) => Omit<OddSignature, "what">): Omit<OddSignature, "what"> {
  for (let index = 0; index < 200; index++) {
    const made = make(`unibus-test-v1\n${index}`);
    if (made.holds === wanted) return made;
  }
  throw new Error("no text found");
}

/** All kinds of odd signatures. */
export function oddSignaturesOf(): readonly OddSignature[] {
  const [scalar, nonce] = [123_456_789n, 987_654_321n];
  const plain = { scalar };
  const mixed = { scalar, inKey: torsion(1) };
  return [
    { what: "honest", ...signed(plain, "unibus-test-v1\nhello", nonce) },
    { what: "a point of order 8 in R", ...signed(plain, "unibus-test-v1\nhello", nonce, torsion(1)) },
    { what: "a point of order 2 in R", ...signed(plain, "unibus-test-v1\nhello", nonce, torsion(4)) },
    { what: "a point of order 8 in the key", ...firstThat(false, (text) => signed(mixed, text, nonce)) },
    { what: "a point in the key that vanishes", ...firstThat(true, (text) => signed(mixed, text, nonce)) },
    { what: "points that cancel out", ...firstThat(true, (text) => signed(mixed, text, nonce, torsion(3))) },
    { what: "R is the neutral point", ...signed(plain, "unibus-test-v1\nhello", 0n) },
    { what: "R has small order", ...signed(plain, "unibus-test-v1\nhello", 0n, torsion(2)) },
  ];
}
