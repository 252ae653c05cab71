import sodium from "libsodium-wrappers";
import { bytesOf } from "../../wire/encoding.ts";
import { SoundKeys } from "./sound-keys.ts";

/**
 * A key with its imported form: null if the browser does not support Ed25519, or the page is not in a secure context.
 */
interface BrowserKey {
  readonly raw: Uint8Array;
  readonly native: Promise<CryptoKey | null>;
}

async function importKey(raw: Uint8Array<ArrayBuffer>): Promise<CryptoKey | null> {
  try {
    return await crypto.subtle.importKey("raw", raw, "Ed25519", false, ["verify"]);
  } catch {
    return null;
  }
}

const keys = new SoundKeys((raw): BrowserKey => ({ raw, native: importKey(raw) }));

/**
 * Whether a signature over a text is valid under an Ed25519 public key in hex. Verified off the page's own thread if
 * the browser supports it, else by libsodium. False for a malformed signature and for an unsound key.
 */
export async function signatureHolds(signPub: string, text: string, sig: Uint8Array): Promise<boolean> {
  const key = keys.of(signPub);
  if (key === null || sig.length !== 64) return false;
  const [message, native] = [bytesOf(text), await key.native];
  if (native !== null) return crypto.subtle.verify("Ed25519", native, new Uint8Array(sig), new Uint8Array(message));
  await sodium.ready;
  return sodium.crypto_sign_verify_detached(sig, message, key.raw);
}

/**
 * A function that signs with an Ed25519 private key.
 * Shape: `signPriv` 64 bytes, the seed and then the public key; libsodium is ready.
 */
export function signerOf(signPriv: Uint8Array): (message: Uint8Array) => Uint8Array {
  return (message) => sodium.crypto_sign_detached(message, signPriv);
}
