import { createInbox, type Msg } from "nats";
import { type CallReply, type Calls, expectReply } from "./calls.ts";
import type { Pulse } from "./pulse.ts";

/** Messages of which the feed remembers when they were written. An index that is older is asked for again. */
const marksMax = 4_096;
/** Subjects that are written whatever they hold, of which the feed remembers that it saw them. */
const unconditionalMax = 1_000;
/** How long nats-server keeps a feed that nobody listens to, in nanoseconds. */
const inactiveNs = 10_000_000_000;

const expectedHeader = "Nats-Expected-Last-Subject-Sequence";

/** A message of the stream as the feed saw it. */
export interface Mark {
  /** When it was written, in nanoseconds since the epoch. */
  readonly at: string;
  /** How many subjects were new since the feed began. */
  readonly added: number;
}

/** Whom the feed tells. */
export interface Listener {
  /** A subject was written. */
  changed(subject: string, seq: number): void;
  /** The feed goes on, and how many messages there are by its count is not known any more. */
  uncounted(): void;
  /** It cannot be sure that it saw everything, and tells nothing more. */
  lost(): void;
}

interface Delivery {
  readonly seq: number;
  readonly nth: number;
  readonly at: string;
}

/** What a delivery says of itself: `$JS.ACK.[domain.account.]stream.consumer.times.seq.nth.at.pending`. */
function deliveryOf({ reply = "" }: Msg): Delivery | null {
  const parts = reply.split(".");
  if (parts.length < 9) return null;
  const [, seq, nth, at = ""] = parts.slice(parts.length > 9 ? 6 : 4);
  return { seq: Number(seq), nth: Number(nth), at };
}

/**
 * Everything that is written into a stream from one moment on, without the values: an ordered consumer of one life. It
 * comes later than the write, and who uses it compares it with what the leader says.
 */
export class Feed {
  /** Where the stream stood when the feed began. */
  readonly base: Pulse;
  readonly #listener: Listener;
  readonly #marks = new Map<number, Mark>();
  readonly #unconditional = new Set<string>();
  readonly #waiting = new Set<{ readonly seq: number; readonly resolve: (isThere: boolean) => void }>();
  #close: () => void = () => undefined;
  #isOpen = true;
  #position: number;
  #nth = 0;
  #added = 0;

  private constructor(base: Pulse, listener: Listener) {
    this.base = base;
    this.#listener = listener;
    this.#position = base.seq;
    this.#marks.set(base.seq, { at: base.at, added: 0 });
  }

  /** Begins behind where a stream stood. Errors: unavailable. */
  static async open(calls: Calls, stream: string, base: Pulse, listener: Listener): Promise<Feed> {
    const feed = new Feed(base, listener);
    const inbox = createInbox();
    const leave = calls.subscribe(inbox, (message) => feed.#take(message));
    const config = {
      ...{ deliver_subject: inbox, deliver_policy: "by_start_sequence", opt_start_seq: base.seq + 1 },
      ...{ ack_policy: "none", max_deliver: 1, headers_only: true, replay_policy: "instant" },
      ...{ num_replicas: 1, mem_storage: true, inactive_threshold: inactiveNs },
    };
    try {
      const body = { stream_name: stream, config };
      const { name } = expectReply(
        await calls.call<CallReply & { readonly name: string }>(`CONSUMER.CREATE.${stream}`, body),
      );
      feed.#close = () => {
        leave();
        calls.call(`CONSUMER.DELETE.${stream}.${name}`, {}).catch(() => undefined);
      };
      return feed;
    } catch (error) {
      leave();
      throw error;
    }
  }

  /** Whether it was neither closed nor lost. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** The sequence of the last message that was seen. */
  get position(): number {
    return this.#position;
  }

  /** A message that was seen, or where the feed began. Undefined for one that is long past, or that it did not see. */
  markOf(seq: number): Mark | undefined {
    return this.#marks.get(seq);
  }

  /** Waits until a message was seen, or one behind it, and gives whether that came in time. */
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

  /** Ends it. The listener is told nothing more. */
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
    // One that was not delivered had gone: written over, which its successor tells, or removed.
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

  /** Notes whether the subject is new. Gives whether that is known. */
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
