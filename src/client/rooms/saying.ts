/** Options and results of sending, and what a member says before it is sealed. */
import { bytesOf } from "../../wire/encoding.ts";
import type { ContentKind, EnvelopeHeader } from "../../wire/envelope.ts";
import { type BlobRef, type FrameType, frameTypes } from "../../wire/frame.ts";
import { newUlid } from "../../wire/ulid.ts";
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
  /** The kind of the message. Default: `text` for a string, `data` for bytes. Applications have `app.` kinds. */
  readonly kind?: ContentKind | undefined;
  /** The media type of the data or the blob, such as `image/png`. */
  readonly mediaType?: string | undefined;
  /** The name of the file in the blob, for people. Without `/`, `\`, control characters and bidi controls. */
  readonly fileName?: string | undefined;
  /** How many automatic answers led to this message, 0 to 8. A program that answers a message sends one more. */
  readonly hops?: number | undefined;
}

/** A sent message. */
export interface Sent {
  readonly id: string;
  /** Its sequence number in the room's stream; null in a room without history. */
  readonly seq: number | null;
  /** Whether it was sealed with a key that a departed member still holds: no owner has signed their removal yet. */
  readonly rekeyPending: boolean;
}

/** What a member says: a message before it gets its envelope and is sealed. */
export interface Saying {
  /** New for each message. */
  readonly id: string;
  readonly t: FrameType;
  /** The fields that the caller decides on. `RoomSender` adds the others. */
  readonly header: EnvelopeHeader;
  readonly body: Uint8Array;
  readonly b?: BlobRef | undefined;
  readonly thr?: string | undefined;
  readonly re?: string | undefined;
}

/** A message with a new id, dated by the server's clock. */
export function sayingOf(clock: BusClock, data: Uint8Array | string, options: SayOptions = {}): Saying {
  const { thread, replyTo, blob, mediaType, fileName, hops } = options;
  const kind = options.kind ?? (typeof data === "string" ? "text" : "data");
  return {
    id: newUlid(clock.now()),
    t: kind === "react" ? frameTypes.REACT : frameTypes.PUB,
    // Readers take a message without a kind for a text.
    header: { kind: kind === "text" ? undefined : kind, mediaType, fileName: fileName?.normalize("NFC"), hops },
    body: typeof data === "string" ? bytesOf(data) : data,
    b: blob?.blob,
    thr: thread,
    re: replyTo,
  };
}
