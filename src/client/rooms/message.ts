import type { EnvelopeHeader, MessageKind } from "../../wire/envelope.ts";
import type { BlobRef } from "../../wire/frame.ts";
import { ulidTimeMs } from "../../wire/ulid.ts";
import { ReceivedFile } from "./file-receiving.ts";
import type { Received } from "./receiver.ts";
import type { RoomBlobs } from "./room-blobs.ts";

/** A message of a room. */
export class Message {
  /** A ULID, unique for its sender. */
  readonly id: string;
  /**
   * What the message is: `text`, `data`, `file`, `edit`, `react`, and so on, or a kind of an application, `app.*`.
   * `unsupported`: a newer client sent something that this one does not know. Source: docs/protocol/envelope.md.
   */
  readonly kind: MessageKind;
  /** The endpoint of the sender, the only field that identifies them. */
  readonly from: string;
  /** The sender's handle, as the server states it. */
  readonly handle: string;
  /** The body: the text, the data, the caption of a file, the emoji of a reaction. */
  readonly data: Uint8Array;
  /** The media type that the sender states, or null. */
  readonly mediaType: string | null;
  /** The name of the file that the sender states, or null. For people: never use it as a path. */
  readonly fileName: string | null;
  /** How many automatic answers led to this message, as its sender states. */
  readonly hops: number;
  /** Everything that the message says about itself. */
  readonly header: EnvelopeHeader;
  /** The id of the message that started the thread, or null. */
  readonly thread: string | null;
  /** The id of the message that this one answers or reacts to, or null. */
  readonly replyTo: string | null;
  /** The reference to pass to `room.getBlob`, or null. */
  readonly blob: BlobRef | null;
  readonly epoch: number;
  /** Whether its signature was verified. Without one, any member may have sent it. */
  readonly verified: boolean;
  /** Received live, and dated more than 10 minutes before its arrival: it may have been held back. */
  readonly late: boolean;
  /** Received live, and dated more than 10 minutes after its arrival: the sender's clock may be wrong. */
  readonly early: boolean;
  /** Received live while this computer's clock disagrees with the server's: unknown whether it is late. */
  readonly clockUnsure: boolean;
  /** The creation time that the sender states, in milliseconds since 1970. */
  readonly timeMs: number;
  readonly #blobs: RoomBlobs;

  constructor({ frame, content, verified, sender, mark, blobs }: Received) {
    this.#blobs = blobs;
    this.id = frame.id;
    this.kind = content.kind;
    this.from = frame.from;
    this.handle = sender.handle;
    this.data = content.body;
    this.mediaType = content.header.mediaType ?? null;
    this.fileName = content.header.fileName ?? null;
    this.hops = content.header.hops ?? 0;
    this.header = content.header;
    this.thread = frame.thr ?? null;
    this.replyTo = frame.re ?? null;
    this.blob = frame.b ?? null;
    this.epoch = frame.e;
    this.verified = verified;
    this.late = mark === "late";
    this.early = mark === "early";
    this.clockUnsure = mark === "clock_unsure";
    this.timeMs = ulidTimeMs(frame.id);
  }

  /** The file that came with the message, or null. Nothing is fetched until it is read. */
  file(): ReceivedFile | null {
    const { blob, epoch, header } = this;
    return blob === null ? null : new ReceivedFile(this.#blobs, { blob, epoch, header });
  }

  /** The data as UTF-8, with replacement characters for invalid bytes. */
  get text(): string {
    return new TextDecoder().decode(this.data);
  }

  /** The data as JSON. Errors: SyntaxError if it is not JSON. */
  json<T>(): T {
    return JSON.parse(this.text) as T;
  }
}

/** A message whose sender waits for an answer. */
export class Request extends Message {
  constructor(
    received: Received,
    /** Sends the answer. Errors: those of `room.send`. */
    readonly respond: (data: Uint8Array | string) => Promise<void>,
  ) {
    super(received);
  }
}
