import sodium from "libsodium-wrappers";
import { openBox, sealBox } from "#seal";
import { bytesOf, fromBase64, toBase64 } from "../../wire/encoding.ts";
import { UnibusError } from "../../wire/errors.ts";
import { keyBytes } from "../../wire/names.ts";
import { keysText } from "../../wire/sign.ts";

/** The size of a room key, in bytes. */
export const roomKeyBytes = 32;

/**
 * Resolves when libsodium is ready, which every other function in this file requires. An Identity exists only after
 * that.
 */
export const cryptoReady: Promise<void> = sodium.ready;

/**
 * Whether a signature over a text is valid under an Ed25519 public key. False for malformed signatures and keys, and
 * for a key of small order.
 */
export function verifyText(signPub: Uint8Array, text: string, sig: Uint8Array): boolean {
  if (signPub.length !== 32 || sig.length !== 64) return false;
  return sodium.crypto_sign_verify_detached(sig, bytesOf(text), signPub);
}

/**
 * Whether a user's signing key signed a kex key. Never seal to a key for which this is false.
 * Shape: keys in hex, the signature base64-std. Source: spec 2.
 */
export function vouchesFor(signPub: string, kexPub: string, kexSig: string): boolean {
  const sig = fromBase64(kexSig);
  const text = keysText(signPub.toLowerCase(), kexPub.toLowerCase());
  return sig !== null && verifyText(keyBytes(signPub), text, sig);
}

/** Generates a room key. Source: spec 3. */
export function newRoomKey(): Uint8Array {
  return sodium.randombytes_buf(roomKeyBytes);
}

/**
 * Seals a room key so that only the holder of a kex key can open it; base64-std.
 * Errors: invalid if the kex key is of low order. The caller has checked `vouchesFor`.
 * Source: spec 3.
 */
export function sealRoomKey(roomKey: Uint8Array, kexPub: Uint8Array): string {
  if (roomKey.length !== roomKeyBytes) throw new TypeError(`a room key must have ${roomKeyBytes} bytes`);
  try {
    return toBase64(sealBox(roomKey, kexPub));
  } catch (cause) {
    throw new UnibusError("invalid", "cannot encrypt to this kex_pub (its owner needs a new identity)", {
      cause,
    });
  }
}

/**
 * The room key in a sealed box, or null if the box is for other keys, damaged, or does not contain a room key.
 * Shape: `sealed` base64-std.
 */
export function openRoomKey(sealed: string, kexPub: Uint8Array, kexPriv: Uint8Array): Uint8Array | null {
  const box = fromBase64(sealed);
  if (box === null) return null;
  try {
    const key = openBox(box, kexPub, kexPriv);
    return key.length === roomKeyBytes ? key : null;
  } catch {
    return null;
  }
}
