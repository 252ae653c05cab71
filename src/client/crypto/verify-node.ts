import { createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import { bytesOf, toBase64Url } from "../../wire/encoding.ts";
import { SoundKeys } from "./sound-keys.ts";

const keys = new SoundKeys((signPub) =>
  createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: toBase64Url(signPub) }, format: "jwk" }),
);

/**
 * Whether a signature over a text is valid under an Ed25519 public key in hex. Verified on a thread of the pool. False
 * for a malformed signature and for an unsound key.
 */
export function signatureHolds(signPub: string, text: string, sig: Uint8Array): Promise<boolean> {
  const key = keys.of(signPub);
  if (key === null || sig.length !== 64) return Promise.resolve(false);
  return new Promise((resolve) => {
    verify(null, bytesOf(text), key, sig, (error, holds) => resolve(error === null && holds));
  });
}

/**
 * A function that signs with an Ed25519 private key.
 * Shape: `signPriv` 64 bytes, the seed and then the public key. Three times as fast here as libsodium in WebAssembly.
 */
export function signerOf(signPriv: Uint8Array): (message: Uint8Array) => Uint8Array {
  const [d, x] = [signPriv.subarray(0, 32), signPriv.subarray(32)].map(toBase64Url);
  const key = createPrivateKey({ key: { kty: "OKP", crv: "Ed25519", d, x } as JsonWebKey, format: "jwk" });
  return (message) => new Uint8Array(sign(null, message, key));
}
