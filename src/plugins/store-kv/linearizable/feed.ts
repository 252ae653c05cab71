/**
 * A feed of all writes to a stream from a start position on, without the values: an ordered, ephemeral push consumer
 * that is never resumed. It reports every written subject to its listener, and keeps recent log entries, by which
 * `Linearizable` compares the feed with the leader's position.
 * States: open, then closed (by the owner) or lost (a gap in the deliveries). Invariant: while open, it has delivered
 * every surviving write up to `position`, in order; it may lag behind the leader.
 */
import { createInbox, type Msg } from "nats";
import type { ApiReply, JetStream } from "../../../nats/jetstream.ts";
import { expectReply } from "../errors.ts";
import type { StreamPosition } from "./stream-position.ts";

/** The most log entries kept. A position older than all of them cannot be confirmed. */
const marksMax = 4_096;
/** The most unconditionally written subjects that the feed remembers as seen. */
const unconditionalMax = 1_000;
/** How long nats-server keeps the consumer after the subscriber is gone, in nanoseconds. */
const inactiveNs = 10_000_000_000;

const expectedHeader = "Nats-Expected-Last-Subject-Sequence";

/** A log entry: a message of the stream, as the feed saw it. */
export interface LogEntry {
  /** When it was written, in nanoseconds since the epoch. */
  readonly at: string;
  /** How many new subjects the feed had counted by then. */
  readonly added: number;
}

/** Receives the events of a feed. */
export interface Listener {
  /** A subject was written at a sequence. */
  changed(subject: string, seq: number): void;
  /** The feed continues, but its message count is no longer exact. */
  uncounted(): void;
  /** The feed may have missed a message. It is closed and sends no more events. */
  lost(): void;
}

interface Delivery {
  readonly seq: number;
  readonly nth: number;
  readonly at: string;
}

/** Parses a delivery's metadata: `$JS.ACK.[domain.account.]stream.consumer.times.seq.nth.at.pending`. */
function deliveryOf({ reply = "" }: Msg): Delivery | null {
  const parts = reply.split(".");
  if (parts.length < 9) return null;
  const [, seq, nth, at = ""] = parts.slice(parts.length > 9 ? 6 : 4);
  return { seq: Number(seq), nth: Number(nth), at };
}

/**
 * Everything written to a stream from a start position on, without the values. It trails the writes, so its user
 * compares it with the leader's position.
 */
export class Feed {
  /** The stream's position when the feed began. */
  readonly base: StreamPosition;
  readonly #listener: Listener;
  readonly #marks = new Map<number, LogEntry>();
  readonly #unconditional = new Set<string>();
  readonly #waiting = new Set<{ readonly seq: number; readonly resolve: (isThere: boolean) => void }>();
  #close: () => void = () => undefined;
  #isOpen = true;
  #position: number;
  #nth = 0;
  #added = 0;

  private constructor(base: StreamPosition, listener: Listener) {
    this.base = base;
    this.#listener = listener;
    this.#position = base.seq;
    this.#marks.set(base.seq, { at: base.at, added: 0 });
  }

  /** Opens a feed that starts after a stream position. Errors: unavailable. */
  static async open(js: JetStream, stream: string, base: StreamPosition, listener: Listener): Promise<Feed> {
    const feed = new Feed(base, listener);
    const inbox = createInbox();
    const leave = js.subscribe(inbox, (message) => feed.#take(message));
    const config = {
      ...{ deliver_subject: inbox, deliver_policy: "by_start_sequence", opt_start_seq: base.seq + 1 },
      ...{ ack_policy: "none", max_deliver: 1, headers_only: true, replay_policy: "instant" },
      ...{ num_replicas: 1, mem_storage: true, inactive_threshold: inactiveNs },
    };
    try {
      const body = { stream_name: stream, config };
      const { name } = expectReply(
        await js.call<ApiReply & { readonly name: string }>(`CONSUMER.CREATE.${stream}`, body),
      );
      feed.#close = () => {
        leave();
        js.call(`CONSUMER.DELETE.${stream}.${name}`, {}).catch(() => undefined);
      };
      return feed;
    } catch (error) {
      leave();
      throw error;
    }
  }

  /** Whether the feed is neither closed nor lost. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** The sequence of the last message that was delivered. */
  get position(): number {
    return this.#position;
  }

  /** The log entry at a sequence, or at the feed's start. Undefined if it is too old, or was never delivered. */
  markOf(seq: number): LogEntry | undefined {
    return this.#marks.get(seq);
  }

  /** Waits until the feed has reached a sequence. Returns false if it did not within `ms`. */
  async reached(seq: number, ms: number): Promise<boolean> {
    if (this.#position >= seq) return true;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const mine = { seq, resolve };
    this.#waiting.add(mine);
    const timer = setTimeout(() => resolve(false), ms);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(mine);
    }
  }

  /** Closes the feed. The listener gets no more events. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    for (const { resolve } of this.#waiting) resolve(false);
    this.#close();
  }

  #take(message: Msg): void {
    const delivery = deliveryOf(message);
    if (!this.#isOpen || delivery === null) return;
    const { seq, nth, at } = delivery;
    if (nth !== this.#nth + 1 || seq <= this.#position) {
      this.close();
      this.#listener.lost();
      return;
    }
    this.#nth = nth;
    // A skipped sequence was overwritten (the newer write is delivered too) or removed: the count is inexact then.
    const isCounted = seq === this.#position + 1 && this.#count(message);
    this.#position = seq;
    if (!isCounted) {
      this.#marks.clear();
      this.#listener.uncounted();
    }
    this.#mark(seq, at);
    this.#listener.changed(message.subject, seq);
    for (const { seq: wanted, resolve } of this.#waiting) if (wanted <= seq) resolve(true);
  }

  /** Counts the subject if it is new. Returns false if that is unknown. */
  #count({ subject, headers }: Msg): boolean {
    const expected = headers?.get(expectedHeader) ?? "";
    if (expected !== "") {
      if (expected === "0") this.#added += 1;
      return true;
    }
    if (this.#unconditional.has(subject)) return true;
    if (this.#unconditional.size >= unconditionalMax) this.#unconditional.clear();
    this.#unconditional.add(subject);
    return false;
  }

  #mark(seq: number, at: string): void {
    this.#marks.set(seq, { at, added: this.#added });
    for (const oldest of this.#marks.keys()) {
      if (this.#marks.size <= marksMax) return;
      this.#marks.delete(oldest);
    }
  }
}
