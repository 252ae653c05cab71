import { ulidTimeMs } from "../../wire/ulid.ts";
import { frameKey } from "./frame-memory.ts";
import type { Chained } from "./last-word.ts";
import { shownText } from "./timeline-rules.ts";

/** What a timeline needs to know of a message. `Message` has all of it. */
export interface TimelineMessage extends Chained {
  readonly from: string;
  readonly kind: string;
  /** Whether its signature was verified. */
  readonly verified: boolean;
  /** The id of the message that this one is about, or null. */
  readonly replyTo: string | null;
  /** The id of the message that started the thread, or null. */
  readonly thread?: string | null;
  readonly data: Uint8Array;
  /** `statement`: the room statement that its sender had verified, unless it names none. */
  readonly header: Chained["header"] & {
    readonly statement?: { readonly version: number; readonly hash: string } | undefined;
  };
  /** Hex sha256 of the frame as sent, or null if it is not known. */
  readonly frameHash?: string | null;
}

/** The members who reacted with an emoji, in the order of their reactions. */
export interface Reaction {
  readonly emoji: string;
  readonly from: readonly string[];
}

/** The member who asked everyone to remove a message. */
export interface Deletion {
  readonly by: string;
  /** Whether an owner removed another member's message. */
  readonly byOwner: boolean;
}

const none = new Uint8Array();

/**
 * One message as a timeline shows it: with its last edit, its reactions, or as deleted. Immutable: when something
 * changes, the timeline has another object with the same `key`.
 */
export class TimelineItem<M extends TimelineMessage> {
  readonly #message: M;
  readonly #edit: M | null;
  /** How it was deleted, or null. */
  readonly deletion: Deletion | null;
  readonly reactions: readonly Reaction[];

  constructor(message: M, edit: M | null, deletion: Deletion | null, reactions: readonly Reaction[]) {
    this.#message = message;
    this.#edit = deletion === null ? edit : null;
    this.deletion = deletion;
    this.reactions = reactions;
  }

  /** Identifies the item in its timeline, before and after changes. */
  get key(): string {
    return frameKey(this.#message);
  }

  get id(): string {
    return this.#message.id;
  }

  /** The endpoint of the sender. */
  get from(): string {
    return this.#message.from;
  }

  /** The id of the message that started its thread, or null. */
  get thread(): string | null {
    return this.#message.thread ?? null;
  }

  get kind(): M["kind"] {
    return this.#message.kind;
  }

  /** The message as it was sent, for example for `room.delete` and `room.getBlob`; null if it was deleted. */
  get message(): M | null {
    return this.deletion === null ? this.#message : null;
  }

  /** The edit whose text is shown, or null. */
  get edit(): M | null {
    return this.#edit;
  }

  /** The body to show: that of the last edit, and nothing for a deleted message. */
  get data(): Uint8Array {
    return this.deletion === null ? (this.#edit ?? this.#message).data : none;
  }

  /** Whether a signature is missing, because the room does not sign: any member may have sent what is shown. */
  get isUnsigned(): boolean {
    return !this.#message.verified || this.#edit?.verified === false;
  }

  /** The body as text. Bytes that are not UTF-8 become U+FFFD. */
  get text(): string {
    return shownText(this.data);
  }

  /** The creation time that the sender states, in milliseconds since 1970. */
  get timeMs(): number {
    return ulidTimeMs(this.id);
  }
}
