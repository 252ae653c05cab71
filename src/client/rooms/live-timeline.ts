/**
 * The timeline of a room that keeps itself up to date: live messages, the newest messages of the history, and older
 * pages on demand. `Timeline` decides what is shown; this file only brings it messages, and news of the room's owners
 * and statements.
 */
import { Mutex } from "../../lib/mutex.ts";
import { Events, type Unlisten } from "../events.ts";
import type { RoomTrust } from "../trust/room-trust.ts";
import type { Message } from "./message.ts";
import type { RoomFacts } from "./owners-word.ts";
import type { RoomReader } from "./room-reader.ts";
import { waitToRetry } from "./room-subscription.ts";
import { Timeline, type TimelineChange, type Title } from "./timeline.ts";
import type { TimelineItem } from "./timeline-item.ts";

/** How many messages of the history are read at first, and for each older page. */
const limitDefault = 100;
/** How many pages `older` reads to find an item: a page may have nothing but reactions. */
const pagesMax = 20;

/** The options of `timeline`. */
export interface TimelineOptions {
  /** How many messages of the history to read at first, 1 to 1,000. Default: 100. */
  readonly limit?: number;
  readonly signal?: AbortSignal | undefined;
}

/** The events of a timeline. */
export type TimelineEvents = {
  /** One item, or one thing of the room, changed. A list only has to draw that again. */
  readonly change: TimelineChange<Message>;
  /** Reading ended: null after `close`, else why, for example because this peer was removed from the room. */
  readonly end: unknown;
};

/** The dependencies of a `LiveTimeline`. */
export interface LiveTimelineDeps {
  readonly reader: Pick<RoomReader, "messages" | "history">;
  readonly trust: Pick<RoomTrust, "room" | "hasStatement" | "isBeforeStart" | "learnStatements" | "onVersion">;
  readonly persist: boolean;
  readonly onTrouble: (error: unknown) => void;
  /** Aborts when the client closes. */
  readonly signal: AbortSignal;
}

/** What a timeline needs to know of a room, as verified now. */
export function factsOf(trust: LiveTimelineDeps["trust"]): RoomFacts {
  const { state, present } = trust.room;
  const owners = new Set(present.filter(({ role }) => role === "owner").map(({ endpoint }) => endpoint));
  return {
    signs: state.policy.sign_msgs,
    isOwner: (endpoint) => owners.has(endpoint),
    hasStatement: (statement) => trust.hasStatement(statement),
  };
}

/** A room's timeline. It stays up to date until it is closed. */
export class LiveTimeline implements AsyncDisposable {
  /** Resolves when the newest messages are in the timeline and every later one will be. Errors: those of `messages`. */
  readonly ready: Promise<void>;
  readonly #timeline: Timeline<Message>;
  readonly #events: Events<TimelineEvents>;
  readonly #closing = new AbortController();
  readonly #signal: AbortSignal;
  readonly #paging = new Mutex();
  readonly #limit: number;
  readonly #unwatch: () => void;
  /** The sequence number before which nothing was read; null if nothing was. */
  #firstSeq: number | null = null;
  #hasOlder: boolean;
  #isLearning = false;

  constructor(
    private readonly deps: LiveTimelineDeps,
    { limit = limitDefault, signal }: TimelineOptions = {},
  ) {
    this.#limit = limit;
    this.#hasOlder = deps.persist;
    this.#events = new Events<TimelineEvents>(deps.onTrouble);
    this.#timeline = new Timeline(factsOf(deps.trust), (change) => this.#events.emit("change", change));
    const signals = signal === undefined ? [] : [signal];
    this.#signal = AbortSignal.any([this.#closing.signal, deps.signal, ...signals]);
    this.#unwatch = deps.trust.onVersion(() => this.#timeline.update(factsOf(deps.trust)));
    const live = deps.reader.messages({ from: "now", signal: this.#signal });
    // Live messages first, so that none falls between them and the history.
    this.ready = live.ready.then(() => this.#first());
    this.ready.catch(() => undefined);
    void this.#follow(live);
  }

  /** How many items there are. */
  get size(): number {
    return this.#timeline.size;
  }

  /** The items from a position up to another one, which is not included. By default all of them, oldest first. */
  items(start?: number, end?: number): TimelineItem<Message>[] {
    return this.#timeline.items(start, end);
  }

  /** The position of an item, from 0, or -1 if it is not in the timeline. */
  indexOf(item: Pick<TimelineItem<Message>, "id" | "from">): number {
    return this.#timeline.indexOf(item);
  }

  /** The item with an id, or null if there is none, or if several senders used that id. */
  item(id: string): TimelineItem<Message> | null {
    return this.#timeline.item(id);
  }

  /** The room's name for people, or null. Show it together with the subject: any owner may choose it. */
  get title(): Title | null {
    return this.#timeline.title;
  }

  /** The ids of the pinned messages. */
  get pins(): readonly string[] {
    return this.#timeline.pins;
  }

  /** The id of the last message that each member said it dealt with, by endpoint. */
  get receipts(): ReadonlyMap<string, string> {
    return this.#timeline.receipts;
  }

  /** Whether the history has messages before those that were read. */
  get hasOlder(): boolean {
    return this.#hasOlder;
  }

  /**
   * Reads a page of older messages. Returns how many items came. They are reported as changes, too.
   * Errors: those of GET history.
   */
  older(limit: number = this.#limit): Promise<number> {
    return this.#paging.hold(() => this.#older(limit));
  }

  /** Adds an event listener until the returned function is called. */
  on<K extends keyof TimelineEvents>(name: K, listener: (detail: TimelineEvents[K]) => void): Unlisten {
    return this.#events.on(name, listener);
  }

  /** Stops reading. The items stay. */
  close(): void {
    this.#closing.abort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  async #follow(live: AsyncIterable<Message>): Promise<void> {
    let end: unknown = null;
    try {
      for await (const message of live) this.#add(message);
    } catch (error) {
      if (!this.#closing.signal.aborted) end = error;
    } finally {
      this.#unwatch();
      this.#events.emit("end", end);
    }
  }

  /** Reads the newest messages. A failure is reported, and the read is repeated until it succeeds. */
  async #first(): Promise<void> {
    for (let attempt = 0; this.#hasOlder && this.#firstSeq === null; attempt++) {
      try {
        await this.older(this.#limit);
      } catch (error) {
        await waitToRetry(error, attempt, { signal: this.#signal, onTrouble: this.deps.onTrouble });
      }
    }
  }

  async #older(limit: number): Promise<number> {
    const before = this.#timeline.size;
    for (let page = 0; page < pagesMax && this.#hasOlder && this.#timeline.size === before; page++) {
      const place = this.#firstSeq === null ? {} : { before: this.#firstSeq };
      const { messages, firstSeq, more } = await this.deps.reader.history({ limit, ...place }, this.#signal);
      for (const message of messages) this.#add(message);
      this.#firstSeq = firstSeq;
      this.#hasOlder = more;
    }
    return this.#timeline.size - before;
  }

  #add(message: Message): void {
    this.#timeline.add(message);
    const { kind, header } = message;
    if (kind !== "title" && kind !== "pin") return;
    if (this.deps.trust.isBeforeStart(header.statement?.version ?? Number.POSITIVE_INFINITY)) void this.#learn();
  }

  /** An older statement is named, from before this client's first read of the room: read those, too. */
  async #learn(): Promise<void> {
    if (this.#isLearning) return;
    this.#isLearning = true;
    try {
      await this.deps.trust.learnStatements(this.#signal);
      this.#timeline.update(factsOf(this.deps.trust));
    } catch (error) {
      if (!this.#signal.aborted) this.deps.onTrouble(error);
    } finally {
      this.#isLearning = false;
    }
  }
}
