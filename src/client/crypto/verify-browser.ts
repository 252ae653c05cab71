/** Verification of signatures in a browser. Imported as `#verify` there. */
import { bytesOf } from "../../wire/encoding.ts";
import { isReduced, verifies } from "./ed25519.ts";
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
 * the browser supports it, else by `@noble/ed25519`. False for a malformed signature and for an unsound key.
 */
export async function signatureHolds(signPub: string, text: string, sig: Uint8Array): Promise<boolean> {
  const key = keys.of(signPub);
  // Checked here, because a browser's own verification might not.
  if (key === null || sig.length !== 64 || !isReduced(sig)) return false;
  const [message, native] = [bytesOf(text), await key.native];
  if (native === null) return verifies(key.raw, message, sig);
  return crypto.subtle.verify("Ed25519", native, new Uint8Array(sig), new Uint8Array(message));
}
