import { signatureHolds } from "#verify";
import { fromBase64, sha256Hex } from "../../wire/encoding.ts";
import {
  type BlobRef,
  type Dropped,
  type DropReason,
  type Frame,
  frameAad,
  frameSigningText,
} from "../../wire/frame.ts";
import type { Policy } from "../../wire/statement.ts";
import type { Identity } from "./identity.ts";
import {
  type BlobRoom,
  type Draft,
  decrypt,
  decryptBlob,
  nonceBytes,
  type SealedBlob,
  type SendingRoom,
  sealBlobUnder,
  sealFrameUnder,
} from "./sealing.ts";

/** How many frames are decrypted while the signatures of the next batch are verified. */
const openBatch = 128;

const freshNonce = () => crypto.getRandomValues(new Uint8Array(nonceBytes));

/**
 * Encodes a frame: encrypts it if the room's policy says so, then signs it if the policy says so.
 * Errors: too_large above 1 MiB. A missing key in a room that encrypts, or an id that is not a ULID, is a programming
 * error and fails, so that nothing is sent in the clear by mistake. Source: docs/protocol/frames.md.
 */
export function sealFrame(draft: Draft, room: SendingRoom, identity: Identity): Promise<Uint8Array> {
  return sealFrameUnder(freshNonce(), draft, room, identity);
}

/** What is needed to open a frame. All of it comes from the room's verified state, nothing from the frame. */
export interface Opening {
  readonly roomId: string;
  readonly policy: Policy;
  /** The key of the frame's epoch, 32 bytes; null if the room does not encrypt. */
  readonly roomKey: Uint8Array | null;
  /** The signing key of the member named as the frame's sender, in lowercase hex. */
  readonly signPub: string;
}

/** A valid frame, opened. */
export interface Opened {
  readonly frame: Frame;
  /** The message, decrypted if the room encrypts. */
  readonly payload: Uint8Array;
  /** Whether its signature was verified; false if it has none and the room does not require one. */
  readonly verified: boolean;
}

const bytesIn = (text = ""): Uint8Array => fromBase64(text) ?? new Uint8Array();

/** A frame that was dropped. */
export interface Refused extends Dropped {
  /** The endpoint that signed it, if the signature is valid. Otherwise any member may have made the frame. */
  readonly signedBy?: string | undefined;
  /** The sender that it claims, which anyone could have written; undefined if the bytes are not a frame. */
  readonly claims?: string | undefined;
}

/** The fault of a frame's signature, or null. An unsound key never verifies a signature: see `SoundKeys`. */
export async function signatureFault(
  frame: Frame,
  { roomId, policy, signPub }: Pick<Opening, "roomId" | "policy" | "signPub">,
): Promise<DropReason | null> {
  if (frame.sig === undefined) return policy.sign_msgs ? "unsigned" : null;
  const holds = await signatureHolds(signPub, frameSigningText(roomId, frame), bytesIn(frame.sig));
  return holds ? null : "bad_signature";
}

/** The plaintext of a frame, or null if it cannot be decrypted. */
function payloadOf(frame: Frame, { roomId, policy, roomKey }: Opening): Uint8Array | null {
  if (!policy.encrypt) return frame.n === undefined ? bytesIn(frame.p) : null;
  if (roomKey === null || frame.n === undefined || frame.p === undefined) return null;
  return decrypt(bytesIn(frame.p), frameAad(roomId, frame), bytesIn(frame.n), roomKey);
}

/**
 * Verifies and decrypts a frame, or returns why it is dropped. Never throws because of a frame's content.
 * Shape: the caller has checked subject, membership, replay and epoch. The signature is verified on another thread, and
 * only with a sound key. Source: docs/protocol/frames.md.
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
 * Opens many frames, in order. Decrypts one batch while the signatures of the next are verified.
 * Shape: one result for each frame, as `openFrame` returns it.
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
 * Encrypts a blob with the room's key.
 * Errors: too_large above 16 MiB less the overhead of encryption. Source: docs/protocol/blobs.md.
 */
export function sealBlob(plaintext: Uint8Array, room: BlobRoom): Promise<SealedBlob> {
  return sealBlobUnder(freshNonce(), plaintext, room);
}

/** Why the received bytes do not match a blob reference. */
export type BlobFault =
  /** The length differs from the reference. */
  | "wrong_size"
  /** The hash differs from the reference. */
  | "wrong_hash"
  /** Encrypted with another key, or for another room or epoch. */
  | "not_decryptable";

/**
 * Decrypts the bytes received for a reference, or returns the fault. The epoch is that of the frame that contains the
 * reference.
 */
export async function openBlob(
  ciphertext: Uint8Array,
  ref: BlobRef,
  room: BlobRoom,
): Promise<Uint8Array | { readonly fault: BlobFault }> {
  if (ciphertext.length !== ref.sz) return { fault: "wrong_size" };
  if (sha256Hex(ciphertext) !== ref.h) return { fault: "wrong_hash" };
  return (await decryptBlob(ciphertext, bytesIn(ref.n), room)) ?? { fault: "not_decryptable" };
}
