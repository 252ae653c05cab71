import { signatureHolds } from "#verify";
import { fromBase64, sha256Hex } from "../wire/encoding.ts";
import {
  type BlobRef,
  blobAad,
  type Dropped,
  type DropReason,
  type Frame,
  frameAad,
  frameSigningText,
} from "../wire/frame.ts";
import type { Policy } from "../wire/statement.ts";
import type { Identity } from "./identity.ts";
import {
  type BlobRoom,
  type Draft,
  decrypt,
  nonceBytes,
  type SealedBlob,
  type SendingRoom,
  sealBlobUnder,
  sealFrameUnder,
} from "./sealing.ts";

/** How many frames are decrypted while the signatures of as many others are checked. */
const openBatch = 128;

const freshNonce = () => crypto.getRandomValues(new Uint8Array(nonceBytes));

/**
 * The bytes of a frame: sealed where the room encrypts, then signed where it signs.
 * Errors: too_large above 1 MiB. A room that encrypts and comes without its key is a programmer's error, as is an id
 * that is no ULID: nothing is sent in the clear by mistake. Source: spec 4.
 */
export function sealFrame(draft: Draft, room: SendingRoom, identity: Identity): Uint8Array {
  return sealFrameUnder(freshNonce(), draft, room, identity);
}

/** What opens a frame: all of it out of the room's verified state, nothing out of the frame. */
export interface Opening {
  readonly roomId: string;
  readonly policy: Policy;
  /** The key of the frame's epoch, 32 bytes; null where the room does not encrypt. */
  readonly roomKey: Uint8Array | null;
  /** The signing key of the member whose endpoint the frame says it is from, in lowercase hex. */
  readonly signPub: string;
}

/** A frame that holds. */
export interface Opened {
  readonly frame: Frame;
  /** What the sender said, decrypted where the room encrypts. */
  readonly payload: Uint8Array;
  /** Its signature was checked; false where there is none and the room demands none. */
  readonly verified: boolean;
}

const bytesIn = (text = ""): Uint8Array => fromBase64(text) ?? new Uint8Array();

/** A frame that was dropped. */
export interface Refused extends Dropped {
  /** The endpoint that signed it, where the signature was checked and holds: otherwise any member may have made it. */
  readonly signedBy?: string | undefined;
  /** The endpoint that it names as its sender, which anybody could have written; undefined for what is not a frame. */
  readonly claims?: string | undefined;
}

/** What is wrong with a frame's signature, or null. Under a key that is not sound none holds: see `SoundKeys`. */
export async function signatureFault(
  frame: Frame,
  { roomId, policy, signPub }: Pick<Opening, "roomId" | "policy" | "signPub">,
): Promise<DropReason | null> {
  if (frame.sig === undefined) return policy.sign_msgs ? "unsigned" : null;
  const holds = await signatureHolds(signPub, frameSigningText(roomId, frame), bytesIn(frame.sig));
  return holds ? null : "bad_signature";
}

/** What the sender said, or null when that cannot be known. */
function payloadOf(frame: Frame, { roomId, policy, roomKey }: Opening): Uint8Array | null {
  if (!policy.encrypt) return frame.n === undefined ? bytesIn(frame.p) : null;
  if (roomKey === null || frame.n === undefined || frame.p === undefined) return null;
  return decrypt(bytesIn(frame.p), frameAad(roomId, frame), bytesIn(frame.n), roomKey);
}

/**
 * Checks and opens a frame, or says why it is dropped. It never throws for what a frame holds.
 * Shape: the caller has checked subject, membership, repeats and epoch; the signature is checked on another thread,
 * under the key that is given and only if that is sound.
 * Source: spec 4.
 */
export async function openFrame(frame: Frame, opening: Opening): Promise<Opened | Refused> {
  const checking = signatureFault(frame, opening);
  const payload = payloadOf(frame, opening);
  const fault = await checking;
  if (fault !== null) return { drop: fault };
  const verified = frame.sig !== undefined;
  if (payload === null) return { drop: "not_decryptable", signedBy: verified ? frame.from : undefined };
  return { frame, payload, verified };
}

/**
 * Opens many frames, in their order: while some are decrypted, the signatures of others are checked.
 * Shape: one result for each, as `openFrame` gives it.
 */
export async function openFrames(list: readonly (readonly [Frame, Opening])[]): Promise<(Opened | Refused)[]> {
  const opened: (Opened | Refused)[] = [];
  let before: Promise<(Opened | Refused)[]> = Promise.resolve([]);
  for (let at = 0; at < list.length; at += openBatch) {
    const next = Promise.all(list.slice(at, at + openBatch).map((one) => openFrame(...one)));
    opened.push(...(await before));
    before = next;
  }
  opened.push(...(await before));
  return opened;
}

/**
 * Seals a blob with the room's key.
 * Errors: too_large above 16 MiB less what sealing adds. Source: spec 4.
 */
export function sealBlob(plaintext: Uint8Array, room: BlobRoom): SealedBlob {
  return sealBlobUnder(freshNonce(), plaintext, room);
}

/** Why the bytes that came for a blob reference are not what it names. */
export type BlobFault =
  /** More or fewer bytes than the reference says. */
  | "wrong_size"
  /** Other bytes than the reference says. */
  | "wrong_hash"
  /** Sealed with another key, or for another room or epoch. */
  | "not_decryptable";

/** Opens the bytes that came for a reference, or says why not. The epoch is that of the frame which held it. */
export function openBlob(
  ciphertext: Uint8Array,
  ref: BlobRef,
  room: BlobRoom,
): Uint8Array | { readonly fault: BlobFault } {
  if (ciphertext.length !== ref.sz) return { fault: "wrong_size" };
  if (sha256Hex(ciphertext) !== ref.h) return { fault: "wrong_hash" };
  const plaintext = decrypt(ciphertext, blobAad(room.roomId, room.epoch), bytesIn(ref.n), room.roomKey);
  return plaintext ?? { fault: "not_decryptable" };
}
