/**
 * Reads a room for the application: live messages, its history, or both joined without a gap.
 *
 * All readers of a room share one `RoomSubscription`, which exists while there is a reader. Each reader has a bounded
 * `MessageQueue`; when it overflows, the reader catches up from the history (`read`) or loses messages (`drop`). A
 * reader yields each message once. `Room` is its facade; `Bus` passes in live messages and connection changes.
 */

import { SeenSet } from "../../lib/seen-set.ts";
import { checkOptions, historyChecks, isFunction, readChecks } from "../option-checks.ts";
import type { ControlPlane } from "../transport/control.ts";
import type { LiveMessage } from "../transport/live-message.ts";
import { pause } from "../transport/wait.ts";
import { frameKey } from "./frame-memory.ts";
import { framesOf, type Page, pagesAfter } from "./history-pages.ts";
import { HistoryRead } from "./history-read.ts";
import type { Message } from "./message.ts";
import { lapsed, MessageQueue, type Overflow } from "./message-queue.ts";
import { ReaderProgress } from "./reader-progress.ts";
import type { Received, Receiver } from "./receiver.ts";
import type { IntegrityWatch } from "./room-integrity.ts";
import { type DeliveredFrame, type Lost, RoomSubscription, settle, waitToRetry } from "./room-subscription.ts";

/** The default length of a reader's queue, in messages. */
const queueDefault = 10_000;
/** How many of the newest messages `from: "last"` reads: some of them may arrive live at the same time. */
const lastOverlap = 256;
/** How far before the position of the live messages one of them may be stored. */
const aheadMax = 1_000;

/** The options of `messages`. */
export interface ReadOptions {
  /** The whole history, only new messages, or the last message and then new ones. Default: now. */
  readonly from?: "start" | "now" | "last";
  /** How many messages may wait for the reader. Default: 10,000, and 64 MiB. */
  readonly queueMax?: number;
  /**
   * What happens when the queue is full. `read`: the reader gets the rest later, from the history; the default in a
   * room with history. `drop`: messages of the sender with the most waiting are dropped, and `lost` is reported; the
   * default in other rooms, and right for a service that answers requests, because it cannot answer those read later.
   */
  readonly whenBehind?: "read" | "drop";
  readonly signal?: AbortSignal | undefined;
}

/** Messages as they arrive. Reading starts at once; `return`, or leaving a `for await`, stops it. */
export interface Messages extends AsyncIterableIterator<Message>, AsyncDisposable {
  /** Resolves when every message sent from then on will be delivered. */
  readonly ready: Promise<void>;
}

/** The options of `history`: how many messages at most, and where the page begins or ends. At most one place. */
export interface HistoryOptions {
  readonly limit?: number;
  /** Only messages before this sequence number, the newest of them. */
  readonly before?: number;
  /** Only messages after this sequence number, the oldest of them. */
  readonly after?: number;
  /** Only messages that the server stored at this time or later, the oldest of them. */
  readonly since?: Date;
}

/** One page of a room's history, oldest first. */
export interface HistoryPage {
  readonly messages: readonly Message[];
  /** Pass it as `before` to read the previous page. */
  readonly firstSeq: number;
  /** Pass it as `after` to read the next page. */
  readonly lastSeq: number;
  /** Whether there is another page: the next one after `after` and `since`, otherwise the previous one. */
  readonly more: boolean;
}

/** The dependencies of a `RoomReader`. */
export interface RoomReaderDeps {
  readonly roomId: string;
  readonly persist: boolean;
  readonly receiver: Receiver;
  readonly control: ControlPlane;
  /** Subscribes to the room's subject, or unsubscribes. */
  readonly follow: (follows: boolean) => Promise<void>;
  /** Converts a frame to a message for the application. */
  readonly messageOf: (delivered: Pick<DeliveredFrame, "received" | "reply">) => Message;
  /** Called once for each live frame, however many readers there are. */
  readonly onReceived: () => void;
  readonly watch: IntegrityWatch;
  readonly onLost: (why: Lost) => void;
  readonly onTrouble: (error: unknown) => void;
  readonly signal: AbortSignal;
}

interface Tailing {
  readonly tail: RoomSubscription;
  readonly ready: Promise<void>;
  readonly stop: AbortController;
}

/** Delivers a room's messages to any number of readers. It subscribes while there is at least one. */
export class RoomReader {
  readonly #feeds = new Set<MessageQueue>();
  readonly #raw = new Set<(bytes: Uint8Array) => void>();
  #tailing: Tailing | null = null;
  #received = 0;
  /** Everything from this sequence number on was read; null if nothing was. */
  #low: number | null = null;

  constructor(private readonly deps: RoomReaderDeps) {}

  /** Whether there is a reader, so that this peer's own messages arrive here, too. */
  get isFollowing(): boolean {
    return this.#tailing !== null;
  }

  /** How many frames were delivered. */
  get received(): number {
    return this.#received;
  }

  /** Messages as an async iterator. Errors while reading: forbidden, gone, room_forked. */
  messages(options: ReadOptions = {}): Messages {
    checkOptions("messages", options, readChecks);
    const { from = "now", queueMax = queueDefault, whenBehind = "read", signal } = options;
    const kept = this.deps.persist ? from : "now";
    const { feed, ready } = this.attach(queueMax, this.deps.persist && whenBehind === "read" ? "lapse" : "drop");
    const stop = () => feed.end(signal?.reason);
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) stop();
    const readMax = 2 * Math.max(queueMax, queueDefault);
    const progress = new ReaderProgress(this.deps.receiver.memory, readMax, kept === "start");
    const run = this.#read(feed, kept, ready, progress);
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

  /** Calls `onMessage` with one message after another, until the returned function is called. */
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
            this.deps.onTrouble(error);
          }
        }
        onEnd?.(null);
      } catch (error) {
        if (onEnd === undefined) this.deps.onTrouble(error);
        else onEnd(error);
      }
    })();
    await messages.ready;
    return () => void messages.return?.();
  }

  /** A page of history, verified. Invalid frames are dropped and counted. Errors: those of GET history. */
  async history(page: HistoryOptions, signal?: AbortSignal): Promise<HistoryPage> {
    checkOptions("history", page, historyChecks);
    const { since, ...rest } = page;
    const request = since === undefined ? rest : { ...rest, since: since.toISOString() };
    const isNewest = Object.keys(rest).every((key) => key === "limit") && since === undefined && this.isFollowing;
    const { messages, first_seq, last_seq, more } = await this.deps.control.history(this.deps.roomId, request, signal);
    const seen = new SeenSet(messages.length + 1);
    const frames = framesOf(messages);
    const opened = (await this.#open(frames)).filter(({ frame }) => seen.add(frameKey(frame)));
    const before = page.before ?? 0;
    const end = isNewest ? Infinity : before >= (this.#low ?? Infinity) ? before : null;
    this.#watchPage(opened, first_seq, new HistoryRead(first_seq === 1), end);
    if (end !== null && !more) this.deps.watch.start(opened[0] ?? null, first_seq, opened[0]?.frame === frames[0]);
    return { messages: opened.map((one) => this.#messageOf(one)), firstSeq: first_seq, lastSeq: last_seq, more };
  }

  #watchPage(messages: readonly Received[], first: number, read: HistoryRead, end: number | null): void {
    this.deps.watch.page({ messages, seq: Math.max(0, first - 1), read, end });
    if (end !== null && this.isFollowing) this.#low = Math.min(this.#low ?? first, first);
  }

  /** Queues live frames until `detach`. `ready` resolves when every message sent from then on will be delivered. */
  attach(
    max: number = queueDefault,
    overflow: Overflow = "drop",
  ): { readonly feed: MessageQueue; readonly ready: Promise<void> } {
    const feed = new MessageQueue(max, overflow, () => this.deps.onLost("overflow"));
    this.#feeds.add(feed);
    this.#tailing ??= this.#follow();
    const { ready } = this.#tailing;
    ready.catch((error: unknown) => feed.end(error));
    return { feed, ready };
  }

  /** Closes a queue. */
  detach(feed: MessageQueue): void {
    feed.end();
    this.#feeds.delete(feed);
    if (this.#feeds.size === 0) this.#unfollow();
  }

  /** Calls `onRaw` with the bytes of every live message, until the returned function is called. */
  listenRaw(onRaw: (bytes: Uint8Array) => void): () => void {
    this.#raw.add(onRaw);
    return () => this.#raw.delete(onRaw);
  }

  /** Handles a live message on the room's subject. */
  take(message: LiveMessage): void {
    for (const onRaw of this.#raw) {
      try {
        onRaw(message.data);
      } catch (error) {
        this.deps.onTrouble(error);
      }
    }
    this.#tailing?.tail.take(message);
  }

  /** The connection broke (`away`), was restored (`back`), or was replaced before it was drained (`torn`). */
  connection(is: "away" | "back" | "torn"): void {
    const tail = this.#tailing?.tail;
    if (is === "away") tail?.away();
    else if (is === "back") tail?.back();
    else tail?.gap();
  }

  /** Ends all readers, with an error if one is given. */
  end(error: unknown): void {
    for (const feed of this.#feeds) feed.end(error);
    this.#feeds.clear();
    this.#unfollow();
  }

  #follow(): Tailing {
    const { follow, signal, onLost } = this.deps;
    const stop = new AbortController();
    this.#low = null;
    this.deps.watch.begin();
    const tail: RoomSubscription = new RoomSubscription({
      ...this.deps,
      signal: AbortSignal.any([signal, stop.signal]),
      onLost,
      onDelivered: (delivered) => {
        this.#received += 1;
        this.deps.onReceived();
        this.deps.watch.delivered(delivered.received, Math.max(0, tail.deliveredUpTo - aheadMax));
        for (const feed of this.#feeds) feed.push(delivered);
      },
    });
    // Subscribe first, then read the stream's position, so that no message falls in between.
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
    void this.deps.follow(false).catch(this.deps.onTrouble);
  }

  /** Reads history, if requested, then live messages: each once, without a gap. */
  async *#read(
    feed: MessageQueue,
    from: "start" | "now" | "last",
    ready: Promise<void>,
    progress: ReaderProgress,
  ): AsyncGenerator<Message, undefined> {
    try {
      await ready;
      if (from === "last") {
        const last = await this.#readLast(progress);
        if (last !== undefined) yield this.#messageOf(last);
      }
      // The reader has everything up to this sequence number.
      let place =
        from === "start" ? yield* this.#readKept(feed, progress, 0) : (this.#tailing?.tail.deliveredUpTo ?? 0);
      for (let delivered = await feed.next(); delivered !== null; delivered = await feed.next()) {
        if (delivered === lapsed) place = yield* this.#readKept(feed, progress, place);
        else {
          if (progress.addLive(delivered)) yield this.deps.messageOf(delivered);
          place = Math.max(place, delivered.upTo);
        }
      }
      return undefined;
    } finally {
      this.detach(feed);
    }
  }

  /** The last message of the history. It and those before it are not delivered again. */
  async #readLast(progress: ReaderProgress): Promise<Received | undefined> {
    for (let attempt = 0; ; attempt++) {
      try {
        const page = await this.deps.control.history(this.deps.roomId, { limit: lastOverlap });
        const { messages, first_seq, last_seq } = page;
        const opened = await this.#open(framesOf(messages));
        this.#watchPage(opened, first_seq, new HistoryRead(), Infinity);
        for (const { frame } of opened) progress.skip(frame);
        progress.readUpTo(last_seq);
        return opened.at(-1);
      } catch (error) {
        await waitToRetry(error, attempt, this.deps);
      }
    }
  }

  /**
   * Yields the history after a sequence number, up to the first queued live message. Returns the last one that was
   * read.
   */
  async *#readKept(feed: MessageQueue, progress: ReaderProgress, after: number): AsyncGenerator<Message, number> {
    const { control, roomId, signal } = this.deps;
    const { watch } = this.deps;
    let read: HistoryRead | null = null;
    let start: (() => void) | null = null;
    let cursor = after;
    let endMs = Number.POSITIVE_INFINITY;
    let reads = 0;
    for (let attempt = 0; ; ) {
      try {
        for await (const { frames, first, upTo } of pagesAfter(control, roomId, cursor, signal)) {
          const opened = await this.#open(frames);
          if (after === 0) {
            read ??= new HistoryRead(first === 1);
            watch.page({ messages: opened, seq: cursor, read, end: null });
            start ??= () => watch.start(opened[0] ?? null, first, opened[0]?.frame === frames[0]);
          }
          for (const one of opened) if (progress.addRead(one.frame)) yield this.#messageOf(one);
          cursor = upTo;
          progress.readUpTo(upTo);
          attempt = 0;
        }
      } catch (error) {
        await waitToRetry(error, attempt++, this.deps);
        continue;
      }
      // Messages that overflowed the queue during the read are in the history by now.
      if (feed.takeLapse()) continue;
      endMs = Math.min(endMs, performance.now() + settle.withinMs);
      reads += 1;
      const first = feed.peek();
      const leftMs = endMs - performance.now();
      const isOver = leftMs <= 0 && (first === undefined || reads >= settle.readsMin);
      if (feed.isEnded || isOver || (first !== undefined && progress.hasRead(first.received.frame))) break;
      // A message published before this reader started may not be stored yet.
      await Promise.race([feed.came(), pause(Math.max(leftMs, 0), signal)]);
      await pause(settle.pauseMs, signal);
    }
    if (!feed.isEnded) start?.();
    return cursor;
  }

  /** Opens frames of a history, in order, and leaves out those that are dropped. */
  async #open(frames: Page["frames"]): Promise<Received[]> {
    const opened = await Promise.all(frames.map((frame) => this.deps.receiver.open(frame, "history")));
    return opened.filter((one) => one !== null);
  }

  #messageOf(received: Received): Message {
    return this.deps.messageOf({ received, reply: undefined });
  }
}
