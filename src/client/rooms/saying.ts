/** Options and results of sending, and the draft of a message. */
import { bytesOf } from "../../wire/encoding.ts";
import { newUlid } from "../../wire/ulid.ts";
import type { Draft } from "../crypto/sealing.ts";
import type { BusClock } from "../transport/clock.ts";
import type { SendOptions } from "./publisher.ts";
import type { StoredBlob } from "./room-blobs.ts";

/** The options of `send`. */
export interface SayOptions extends SendOptions {
  /** The id of the message that started the thread. */
  readonly thread?: string | undefined;
  /** The id of the message that this one answers. */
  readonly replyTo?: string | undefined;
  /** The result of `putBlob`. */
  readonly blob?: StoredBlob | undefined;
}

/** A sent message. */
export interface Sent {
  readonly id: string;
  /** Its sequence number in the room's stream; null in a room without history. */
  readonly seq: number | null;
  /** Whether it was sealed with a key that a departed member still holds: no owner has signed their removal yet. */
  readonly rekeyPending: boolean;
}

/** Creates a message draft with a new id, dated by the server's clock. */
export const draftOf = (clock: BusClock, data: Uint8Array | string): Draft => ({
  id: newUlid(clock.now()),
  payload: typeof data === "string" ? bytesOf(data) : data,
});

/** The frame fields that the options of a message set: its thread, the message it answers, its blob. */
export function placeOf({ thread, replyTo, blob }: SayOptions): Pick<Draft, "thr" | "re" | "b"> {
  return { thr: thread, re: replyTo, b: blob?.blob };
}
