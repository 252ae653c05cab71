import { type BlobRef, type FrameType, frameTypes } from "../wire/frame.ts";
import { ulidTimeMs } from "../wire/ulid.ts";
import type { Received } from "./receiver.ts";

/** What a message is about. Source: spec 4. */
export type MessageKind = Lowercase<keyof typeof frameTypes>;

const kinds = new Map<FrameType, MessageKind>(
  Object.entries(frameTypes).map(([name, number]) => [number, name.toLowerCase() as MessageKind]),
);

/** Something that a member said in a room. */
export class Message {
  /** A ULID, unique with its sender. */
  readonly id: string;
  /** `pub` for what is said, `react` for a reaction; the others are told and change nothing. */
  readonly kind: MessageKind;
  /** The endpoint of its sender: who that is, only this says. */
  readonly from: string;
  /** The sender's handle: the bus's word. */
  readonly handle: string;
  readonly data: Uint8Array;
  /** The id of the message that began the thread, or null. */
  readonly thread: string | null;
  /** The id of the message that this one answers or reacts to, or null. */
  readonly replyTo: string | null;
  /** What `room.getBlob` fetches, or null. */
  readonly blob: BlobRef | null;
  readonly epoch: number;
  /** Whether its signature was checked: without one it is only known to be from some member. */
  readonly verified: boolean;
  /** Came live, and is dated more than 10 minutes before it came: held back on the way, perhaps. */
  readonly late: boolean;
  /** Came live, and is dated more than 10 minutes after it came: its sender's clock is wrong, perhaps. */
  readonly early: boolean;
  /** Came live to a computer whose clock disagrees with the bus's: whether it is late cannot be told. */
  readonly clockUnsure: boolean;
  /** When its sender says that it was made, in milliseconds since 1970. */
  readonly timeMs: number;

  constructor({ frame, payload, verified, sender, mark }: Received) {
    this.id = frame.id;
    this.kind = kinds.get(frame.t) ?? "pub";
    this.from = frame.from;
    this.handle = sender.handle;
    this.data = payload;
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

  /** The data as UTF-8; what is none reads as the replacement character. */
  get text(): string {
    return new TextDecoder().decode(this.data);
  }

  /** The data as JSON. Errors: SyntaxError for what is none. */
  json<T>(): T {
    return JSON.parse(this.text) as T;
  }
}

/** A message that somebody waits to have answered. */
export class Request extends Message {
  constructor(
    received: Received,
    /** Answers it. Errors: those of `room.send`. */
    readonly respond: (data: Uint8Array | string) => Promise<void>,
  ) {
    super(received);
  }
}
