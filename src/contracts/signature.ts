import { createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import { isSoundKexKey, isSoundSignKey } from "../wire/curve.ts";
import { fromBase64, fromHex } from "../wire/encoding.ts";
import { UnibusError } from "../wire/errors.ts";
import { keyBytes, normalKey } from "../wire/names.ts";
import { keysText } from "../wire/sign.ts";

const pkcs8Ed25519 = Buffer.from("302e020100300506032b657004220420", "hex");
const spkiEd25519 = Buffer.from("302a300506032b6570032100", "hex");

/**
 * Verifies an Ed25519 signature over a text, off the main thread.
 * Shape: `signPub` is 64 hex digits, a key that `checkSignKey` has accepted; `sig` is 64 bytes.
 * Returns false for a key that is not a point on the curve.
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

/** Derives the Ed25519 key pair of a 32-byte seed: the public key, and a function that signs. */
export function signingKey(seed: Uint8Array): { readonly pub: Uint8Array; sign(text: string): Uint8Array } {
  const key = createPrivateKey({ key: Buffer.concat([pkcs8Ed25519, seed]), format: "der", type: "pkcs8" });
  const spki = createPublicKey(key).export({ format: "der", type: "spki" });
  return { pub: spki.subarray(-32), sign: (text) => sign(null, Buffer.from(text), key) };
}

/**
 * Validates a signing key and returns it in lowercase.
 * Errors: invalid for a key that is not canonical, is of small order (any signature verifies under it), or is not on
 * the curve. Source: docs/protocol/signatures.md.
 */
export function checkSignKey(signPub: string): string {
  if (!isSoundSignKey(keyBytes(signPub))) {
    throw new UnibusError("invalid", "sign_pub is not a usable Ed25519 key (make a new identity)");
  }
  return normalKey(signPub);
}

/** A kex key with its owner's signature, in the form in which both are stored. */
export interface KexKey {
  readonly kexPub: string;
  readonly kexSig: string;
}

/**
 * Validates a kex key that its user has signed.
 * Errors: invalid for a key of low order, or if kex_sig is not the user's signature.
 * Source: docs/protocol/signatures.md.
 */
export async function checkKexKey(signPub: string, kexPub: string, kexSig: string): Promise<KexKey> {
  if (!isSoundKexKey(fromHex(kexPub) ?? new Uint8Array())) {
    throw new UnibusError("invalid", "kex_pub is not a usable X25519 key (make a new identity)");
  }
  const sig = fromBase64(kexSig);
  const text = keysText(normalKey(signPub), normalKey(kexPub));
  if (sig === null || !(await verifySignature(signPub, text, sig))) {
    throw new UnibusError("invalid", "kex_sig is not the user's signature of kex_pub (sign the `unibus-keys-v1` text)");
  }
  return { kexPub: normalKey(kexPub), kexSig };
}
