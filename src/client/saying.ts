/** What is said in a room besides the words, and what sending gives. */
import { bytesOf } from "../wire/encoding.ts";
import { newUlid } from "../wire/ulid.ts";
import type { BusClock } from "./clock.ts";
import type { SendOptions } from "./publisher.ts";
import type { StoredBlob } from "./room-blobs.ts";
import type { Draft } from "./sealing.ts";

/** What is said, besides the words. */
export interface SayOptions extends SendOptions {
  /** The id of the message that began the thread. */
  readonly thread?: string | undefined;
  /** The id of the message that this one answers. */
  readonly replyTo?: string | undefined;
  /** What `putBlob` gave. */
  readonly blob?: StoredBlob | undefined;
}

/** Where a message is. */
export interface Sent {
  readonly id: string;
  /** Its sequence in the room's stream; null where the room is not kept. */
  readonly seq: number | null;
  /** Whether it was sealed with a key that somebody has who left: no owner has signed them out yet. */
  readonly rekeyPending: boolean;
}

/** A message that is not sealed yet, with a fresh id of the bus's time. */
export const draftOf = (clock: BusClock, data: Uint8Array | string): Draft => ({
  id: newUlid(clock.now()),
  payload: typeof data === "string" ? bytesOf(data) : data,
});

/** The fields of a frame that say where a message belongs. */
export function placeOf({ thread, replyTo, blob }: SayOptions): Pick<Draft, "thr" | "re" | "b"> {
  return { thr: thread, re: replyTo, b: blob?.blob };
}
