import { freshAgreement } from "#signer";
import { fromBase64, toBase64 } from "../../wire/encoding.ts";
import { UnibusError } from "../../wire/errors.ts";
import { openBox, sealBox } from "./sealed-box.ts";
import type { Signer } from "./signer.ts";

/** The size of a room key, in bytes. */
const roomKeyBytes = 32;

/** Generates a room key. Source: docs/protocol/rooms.md. */
export function newRoomKey(): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(roomKeyBytes));
}

/**
 * Seals a room key so that only the holder of a kex key can open it; base64-std.
 * Errors: invalid if the kex key is of low order. The caller has checked the keys: see `VerifiedKeys`.
 * Source: docs/protocol/rooms.md.
 */
export async function sealRoomKey(roomKey: Uint8Array, kexPub: Uint8Array): Promise<string> {
  if (roomKey.length !== roomKeyBytes) throw new TypeError(`a room key must have ${roomKeyBytes} bytes`);
  try {
    return toBase64(await sealBox(roomKey, kexPub, freshAgreement));
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
export async function openRoomKey(
  sealed: string,
  { kexPub, agree }: Pick<Signer, "kexPub" | "agree">,
): Promise<Uint8Array | null> {
  const box = fromBase64(sealed);
  if (box === null) return null;
  try {
    const key = await openBox(box, kexPub, agree);
    return key.length === roomKeyBytes ? key : null;
  } catch {
    return null;
  }
}
