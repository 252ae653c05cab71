import { verify } from "node:crypto";
import { fromBase64, fromHex } from "../wire/encoding.ts";
import { UnibusError } from "../wire/errors.ts";
import { keyBytes, normalKey } from "../wire/names.ts";
import { keysText } from "../wire/sign.ts";

const spkiEd25519 = Buffer.from("302a300506032b6570032100", "hex");

/**
 * Whether an Ed25519 signature over a text is good, checked on a thread of its own.
 * Shape: `signPub` 64 hex digits, a key that `checkSignKey` has let in; `sig` 64 bytes.
 * A key that is no point gives false.
 */
export function verifySignature(signPub: string, text: string, sig: Uint8Array): Promise<boolean> {
  if (sig.byteLength !== 64) return Promise.resolve(false);
  const key = Buffer.concat([spkiEd25519, keyBytes(signPub)]);
  return new Promise((resolve) => {
    verify(null, Buffer.from(text), { key, format: "der", type: "spki" }, sig, (error, good) => {
      resolve(error === null && good);
    });
  });
}

const p25519 = 2n ** 255n - 19n;
const littleEndian = (bytes: Uint8Array): bigint => BigInt(`0x${Buffer.from(bytes).reverse().toString("hex")}`);
const withoutTopBit = (bytes: Uint8Array): bigint => littleEndian(bytes) & (2n ** 255n - 1n);
const fromHexPoint = (hex: string): bigint => withoutTopBit(Buffer.from(hex, "hex"));

/** The y of every point whose order divides 8. Source: RFC 8032, curve edwards25519. */
const smallOrderY = new Set([
  0n,
  1n,
  p25519 - 1n,
  fromHexPoint("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
  fromHexPoint("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
]);

/** The u of every point of curve25519 and its twist whose order divides 8. Source: RFC 7748. */
const lowOrderU = new Set([
  0n,
  1n,
  p25519 - 1n,
  fromHexPoint("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
  fromHexPoint("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
]);

const curveD = 37095705934669439343138083508754565189542113879843219016388785533085940283555n;

/** The Jacobi symbol of `a` over p: 1 for a square, -1 for a number that is none, 0 for 0. */
function symbol(a: bigint): number {
  let [top, bottom, sign] = [a % p25519, p25519, 1];
  while (top !== 0n) {
    for (; (top & 1n) === 0n; top >>= 1n) {
      const eighth = bottom & 7n;
      if (eighth === 3n || eighth === 5n) sign = -sign;
    }
    [top, bottom] = [bottom, top];
    if ((top & 3n) === 3n && (bottom & 3n) === 3n) sign = -sign;
    top %= bottom;
  }
  return bottom === 1n ? sign : 0;
}

/** Whether some point of edwards25519 has this y: (y^2 - 1) / (d y^2 + 1), and so their product, is a square. */
function isOnCurve(y: bigint): boolean {
  const yy = (y * y) % p25519;
  return symbol((yy - 1n + p25519) * (curveD * yy + 1n)) !== -1;
}

/**
 * Lets in a signing key that proves its signer, and gives it back in lowercase.
 * Errors: invalid for one that is not canonical, of small order (anything verifies under it), or no point.
 * Source: spec 2.
 */
export function checkSignKey(signPub: string): string {
  const y = withoutTopBit(keyBytes(signPub));
  if (y >= p25519 || smallOrderY.has(y) || !isOnCurve(y)) {
    throw new UnibusError("invalid", "sign_pub is no Ed25519 key that may be used (make a new identity)");
  }
  return normalKey(signPub);
}

/** A kex key with its owner's signature, in the form in which they are stored. */
export interface KexKey {
  readonly kexPub: string;
  readonly kexSig: string;
}

/**
 * Lets in a kex key that its user vouches for.
 * Errors: invalid for a key of low order, or a kex_sig that is not the user's.
 * Source: spec 2.
 */
export async function checkKexKey(signPub: string, kexPub: string, kexSig: string): Promise<KexKey> {
  const u = withoutTopBit(fromHex(kexPub) ?? new Uint8Array(32)) % p25519;
  if (lowOrderU.has(u)) {
    throw new UnibusError("invalid", "kex_pub is no X25519 key that may be used (make a new identity)");
  }
  const sig = fromBase64(kexSig);
  const text = keysText(normalKey(signPub), normalKey(kexPub));
  if (sig === null || !(await verifySignature(signPub, text, sig))) {
    throw new UnibusError("invalid", "kex_sig is not the user's signature over kex_pub (sign the text of kind keys)");
  }
  return { kexPub: normalKey(kexPub), kexSig };
}
