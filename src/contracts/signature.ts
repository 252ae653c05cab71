import { createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import { isSoundKexKey, isSoundSignKey } from "../wire/curve.ts";
import { fromBase64, fromHex } from "../wire/encoding.ts";
import { UnibusError } from "../wire/errors.ts";
import { keyBytes, normalKey } from "../wire/names.ts";
import { keysText } from "../wire/sign.ts";

const pkcs8Ed25519 = Buffer.from("302e020100300506032b657004220420", "hex");
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

/** The Ed25519 key of a seed of 32 bytes: its public half, and what signs with it. */
export function signingKey(seed: Uint8Array): { readonly pub: Uint8Array; sign(text: string): Uint8Array } {
  const key = createPrivateKey({ key: Buffer.concat([pkcs8Ed25519, seed]), format: "der", type: "pkcs8" });
  const spki = createPublicKey(key).export({ format: "der", type: "spki" });
  return { pub: spki.subarray(-32), sign: (text) => sign(null, Buffer.from(text), key) };
}

/**
 * Lets in a signing key that proves its signer, and gives it back in lowercase.
 * Errors: invalid for one that is not canonical, of small order (anything verifies under it), or no point.
 * Source: spec 2.
 */
export function checkSignKey(signPub: string): string {
  if (!isSoundSignKey(keyBytes(signPub))) {
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
  if (!isSoundKexKey(fromHex(kexPub) ?? new Uint8Array())) {
    throw new UnibusError("invalid", "kex_pub is no X25519 key that may be used (make a new identity)");
  }
  const sig = fromBase64(kexSig);
  const text = keysText(normalKey(signPub), normalKey(kexPub));
  if (sig === null || !(await verifySignature(signPub, text, sig))) {
    throw new UnibusError("invalid", "kex_sig is not the user's signature over kex_pub (sign the text of kind keys)");
  }
  return { kexPub: normalKey(kexPub), kexSig };
}
