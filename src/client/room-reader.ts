import type { ControlPlane } from "./control.ts";
import { Feed, lapsed, type Overflow } from "./feed.ts";
import { framesOf, pagesAfter } from "./history-pages.ts";
import type { LiveMessage } from "./line.ts";
import type { Message } from "./message.ts";
import { checkOptions, historyChecks, isFunction, readChecks } from "./option-checks.ts";
import type { Received, Receiver } from "./receiver.ts";
import { Recent } from "./recent.ts";
import { type Lost, mended, settle, Tail, type Told } from "./tail.ts";
import { pause } from "./wait.ts";

/** How many messages a reader may be behind where nothing is said. */
const queueDefault = 10_000;
/** How many of the last messages are read to tell the last: what comes live meanwhile may be among them. */
const lastOverlap = 256;

/** Which messages are read. */
export interface ReadOptions {
  /** The whole history, what comes from now on, or the last message and what comes. Default: now. */
  readonly from?: "start" | "now" | "last";
  /** How many messages wait for the reader. Default: 10,000, and 64 MiB. */
  readonly queueMax?: number;
  /**
   * What becomes of messages that are too many to wait. `read`: the reader gets them later, from the history; default
   * where the room is kept. `drop`: they are dropped from the sender who has the most waiting, and `lost` is reported;
   * default elsewhere, and what a service wants that answers requests: it cannot answer what it reads later.
   */
  readonly whenBehind?: "read" | "drop";
  readonly signal?: AbortSignal | undefined;
}

/** Messages as they come. It begins when it is made; `return`, or the end of a `for await`, gives it up. */
export interface Messages extends AsyncIterableIterator<Message>, AsyncDisposable {
  /** Resolves when everything that is said from then on will come. */
  readonly ready: Promise<void>;
}

/** One page of a room's history, oldest first. */
export interface HistoryPage {
  readonly messages: readonly Message[];
  /** What `before` takes to read the page before. */
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly more: boolean;
}

/** What a reader of a room needs. */
export interface ReaderParts {
  readonly roomId: string;
  readonly persist: boolean;
  readonly receiver: Receiver;
  readonly control: ControlPlane;
  /** Begins or ends to follow the room's subject. */
  readonly follow: (follows: boolean) => Promise<void>;
  /** What a frame is to the application. */
  readonly messageOf: (told: Told) => Message;
  /** Called with each frame that came live, once, however many read. */
  readonly onReceived: () => void;
  readonly onLost: (why: Lost) => void;
  readonly onTrouble: (error: unknown) => void;
  readonly signal: AbortSignal;
}

interface Tailing {
  readonly tail: Tail;
  readonly ready: Promise<void>;
  readonly stop: AbortController;
}

/** What a room says, to as many readers as there are. It follows the room while there is one. */
export class RoomReader {
  readonly #feeds = new Set<Feed>();
  readonly #raw = new Set<(bytes: Uint8Array) => void>();
  #tailing: Tailing | null = null;
  #received = 0;

  constructor(private readonly parts: ReaderParts) {}

  /** Whether somebody reads, so that what this peer says comes here, too. */
  get isFollowing(): boolean {
    return this.#tailing !== null;
  }

  /** How many frames were told. */
  get received(): number {
    return this.#received;
  }

  /** Messages as an async iterator. Errors while reading: forbidden, gone, room_forked. */
  messages(options: ReadOptions = {}): Messages {
    checkOptions("messages", options, readChecks);
    const { from = "now", queueMax = queueDefault, whenBehind = "read", signal } = options;
    const kept = this.parts.persist ? from : "now";
    const { feed, ready } = this.attach(queueMax, this.parts.persist && whenBehind === "read" ? "lapse" : "drop");
    const stop = () => feed.end(signal?.reason);
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) stop();
    const seen = new Recent(2 * Math.max(queueMax, queueDefault));
    const run = this.#read(feed, kept, ready, new Kept(this.parts.receiver, seen));
    const end = async () => {
      signal?.removeEventListener("abort", stop);
      this.detach(feed);
      await run.return(undefined);
      return { done: true as const, value: undefined };
    };
    return {
      ready,
      next: () => run.next(),
      return: end,
      [Symbol.asyncIterator]() {
        return this;
      },
      [Symbol.asyncDispose]: async () => void (await end()),
    };
  }

  /** Calls `onMessage` with each message, one after another, until what is returned is called. */
  async listen(
    onMessage: (message: Message) => unknown,
    { onEnd, ...options }: ReadOptions & { readonly onEnd?: (error: unknown) => void },
  ): Promise<() => void> {
    checkOptions("onMessage", onEnd === undefined ? {} : { onEnd }, { onEnd: isFunction });
    const messages = this.messages(options);
    void (async () => {
      try {
        for await (const message of messages) {
          try {
            await onMessage(message);
          } catch (error) {
            this.parts.onTrouble(error);
          }
        }
        onEnd?.(null);
      } catch (error) {
        if (onEnd === undefined) this.parts.onTrouble(error);
        else onEnd(error);
      }
    })();
    await messages.ready;
    return () => void messages.return?.();
  }

  /** A page of history, verified; what does not hold is dropped and counted. Errors: those of GET history. */
  async history(
    page: { readonly limit?: number; readonly before?: number },
    signal?: AbortSignal,
  ): Promise<HistoryPage> {
    checkOptions("history", page, historyChecks);
    const { messages, first_seq, last_seq, more } = await this.parts.control.history(this.parts.roomId, page, signal);
    const opened = await new Kept(this.parts.receiver, new Recent(messages.length + 1)).open(framesOf(messages));
    return { messages: opened.map((one) => this.#messageOf(one)), firstSeq: first_seq, lastSeq: last_seq, more };
  }

  /** Frames as they come from now on, until `detach`. `ready` resolves when all that is said from then on will come. */
  attach(
    max: number = queueDefault,
    overflow: Overflow = "drop",
  ): { readonly feed: Feed; readonly ready: Promise<void> } {
    const feed = new Feed(max, overflow, () => this.parts.onLost("overflow"));
    this.#feeds.add(feed);
    this.#tailing ??= this.#follow();
    const { ready } = this.#tailing;
    ready.catch((error: unknown) => feed.end(error));
    return { feed, ready };
  }

  /** Gives a feed up. */
  detach(feed: Feed): void {
    feed.end();
    this.#feeds.delete(feed);
    if (this.#feeds.size === 0) this.#unfollow();
  }

  /** Calls `onRaw` with the bytes of whatever comes live, until what is returned is called. */
  listenRaw(onRaw: (bytes: Uint8Array) => void): () => void {
    this.#raw.add(onRaw);
    return () => this.#raw.delete(onRaw);
  }

  /** Takes what came live to the room's subject. */
  take(message: LiveMessage): void {
    for (const onRaw of this.#raw) {
      try {
        onRaw(message.data);
      } catch (error) {
        this.parts.onTrouble(error);
      }
    }
    this.#tailing?.tail.take(message);
  }

  /** The connection is away, there again, or went without having given all. */
  connection(is: "away" | "back" | "torn"): void {
    const tail = this.#tailing?.tail;
    if (is === "away") tail?.away();
    else if (is === "back") tail?.back();
    else tail?.gap();
  }

  /** Ends all reading, with an error where there is one. */
  end(error: unknown): void {
    for (const feed of this.#feeds) feed.end(error);
    this.#feeds.clear();
    this.#unfollow();
  }

  #follow(): Tailing {
    const { follow, signal, onLost } = this.parts;
    const stop = new AbortController();
    const tail = new Tail({
      ...this.parts,
      signal: AbortSignal.any([signal, stop.signal]),
      onLost,
      onTold: (told) => {
        this.#received += 1;
        this.parts.onReceived();
        for (const feed of this.#feeds) feed.push(told);
      },
    });
    // Messages are taken from here on; where the room's stream was then is read after.
    const ready = follow(true).then(() => tail.begin());
    const tailing = { tail, ready, stop };
    ready.catch(() => {
      if (this.#tailing === tailing) this.#tailing = null;
    });
    return tailing;
  }

  #unfollow(): void {
    if (this.#tailing === null) return;
    this.#tailing.stop.abort();
    this.#tailing = null;
    void this.parts.follow(false).catch(this.parts.onTrouble);
  }

  /** What was said before, where that is asked for, then what comes: each once, without a hole. */
  async *#read(
    feed: Feed,
    from: "start" | "now" | "last",
    ready: Promise<void>,
    kept: Kept,
  ): AsyncGenerator<Message, undefined> {
    try {
      await ready;
      if (from === "last") for (const one of (await this.#lastKept(kept)).slice(-1)) yield this.#messageOf(one);
      // Up to where this reader has all.
      let place = from === "start" ? yield* this.#readKept(feed, kept, 0) : (this.#tailing?.tail.toldUpTo ?? 0);
      for (let told = await feed.next(); told !== null; told = await feed.next()) {
        if (told === lapsed) place = yield* this.#readKept(feed, kept, place);
        else {
          if (kept.add(told.received)) yield this.parts.messageOf(told);
          place = Math.max(place, told.upTo);
        }
      }
      return undefined;
    } finally {
      this.detach(feed);
    }
  }

  async #lastKept(kept: Kept): Promise<Received[]> {
    for (let attempt = 0; ; attempt++) {
      try {
        const { messages } = await this.parts.control.history(this.parts.roomId, { limit: lastOverlap });
        return await kept.open(framesOf(messages));
      } catch (error) {
        await mended(error, attempt, this.parts);
      }
    }
  }

  /** The room's history after a sequence, up to where what came live begins. Gives the last sequence that was read. */
  async *#readKept(feed: Feed, kept: Kept, after: number): AsyncGenerator<Message, number> {
    const { control, roomId, signal } = this.parts;
    let cursor = after;
    let endMs = Number.POSITIVE_INFINITY;
    for (let attempt = 0; ; ) {
      try {
        for await (const { frames, upTo } of pagesAfter(control, roomId, cursor, signal)) {
          for (const one of await kept.open(frames)) yield this.#messageOf(one);
          cursor = upTo;
          attempt = 0;
        }
      } catch (error) {
        await mended(error, attempt++, this.parts);
        continue;
      }
      // What was too much to keep meanwhile is in the history by now.
      if (feed.takeLapse()) continue;
      endMs = Math.min(endMs, performance.now() + settle.withinMs);
      const first = feed.peek();
      if (feed.isEnded || performance.now() >= endMs || (first !== undefined && kept.has(first.received))) break;
      // What was said before this reader came may still be on its way into the history.
      await Promise.race([feed.came(), pause(endMs - performance.now(), signal)]);
      await pause(settle.pauseMs, signal);
    }
    return cursor;
  }

  #messageOf(received: Received): Message {
    return this.parts.messageOf({ received, reply: undefined, upTo: 0 });
  }
}

/** Frames of a history that one reader reads, each once. */
class Kept {
  constructor(
    private readonly receiver: Receiver,
    private readonly seen: Recent,
  ) {}

  has({ frame }: Received): boolean {
    return this.seen.has(`${frame.from}.${frame.id}`);
  }

  /** Whether a frame is new to the reader; it is remembered either way. */
  add({ frame }: Received): boolean {
    return this.seen.add(`${frame.from}.${frame.id}`);
  }

  async open(frames: readonly Uint8Array[]): Promise<Received[]> {
    const opened = await Promise.all(frames.map((bytes) => this.receiver.open(bytes, "history")));
    return opened.filter((one): one is Received => one !== null && this.add(one));
  }
}
