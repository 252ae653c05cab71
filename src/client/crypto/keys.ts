import sodium from "libsodium-wrappers";
import { openBox, sealBox } from "#seal";
import { fromBase64, toBase64 } from "../../wire/encoding.ts";
import { UnibusError } from "../../wire/errors.ts";

/** The size of a room key, in bytes. */
const roomKeyBytes = 32;

/** Generates a room key. Source: docs/protocol/rooms.md. */
export function newRoomKey(): Uint8Array {
  return sodium.randombytes_buf(roomKeyBytes);
}

/**
 * Seals a room key so that only the holder of a kex key can open it; base64-std.
 * Errors: invalid if the kex key is of low order. The caller has checked the keys: see `VerifiedKeys`.
 * Source: docs/protocol/rooms.md.
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
