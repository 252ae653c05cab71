/**
 * What a person said in a chat and the server does not have yet. It is sent in order, one after another, and nothing
 * twice: only what certainly was not sent is sent again. During an outage it waits for the connection.
 */
import { isUnibusError } from "../../client/index.ts";
import { pause } from "../../client/transport/wait.ts";
import { backoffMs } from "../../lib/backoff.ts";

/** The most that waits: how many, and how many characters. */
const waitingMax = { count: 200, characters: 4_194_304 } as const;
/** Backoff between attempts while the server answers that it is unavailable, in milliseconds. */
const retryMs = { first: 500, most: 10_000 } as const;

/** One thing to send. */
export interface Outgoing {
  /** The line as it was typed. */
  readonly typed: string;
  /** Sends it. Called again only after `unavailable`, which means that nothing was sent. */
  readonly send: () => Promise<unknown>;
}

/** The dependencies of an `Outbox`. */
export interface OutboxDeps {
  /** Whether the connection is broken. Call `wake` when it is back. */
  readonly isAway: () => boolean;
  /** Something waits for the connection. Called once, until all was sent. */
  readonly onWaiting: () => void;
  /** All that waited was sent; how many. */
  readonly onSent: (count: number) => void;
  /** Something was refused, or may or may not have been sent. */
  readonly onRefused: (outgoing: Outgoing, error: unknown) => void;
  /** Ends sending. What is in the outbox then, stays there. */
  readonly signal: AbortSignal;
}

/** Sends one thing after another. */
export class Outbox {
  readonly #queue: Outgoing[] = [];
  #characters = 0;
  #isCutOff = false;
  #isPumping = false;
  #pumping: Promise<void> = Promise.resolve();
  /** How many were sent since something had to wait; null while nothing does. */
  #sentSince: number | null = null;
  #whenLess: (() => void)[] = [];

  constructor(private readonly deps: OutboxDeps) {}

  /** How many are not sent, including the one that is being sent. */
  get size(): number {
    return this.#queue.length;
  }

  /** Whether what is here waits for the connection or the server. */
  get isWaiting(): boolean {
    return this.#sentSince !== null;
  }

  /** The lines that are not sent, or not known to be, in order. */
  get unsent(): readonly string[] {
    return this.#queue.map(({ typed }) => typed);
  }

  /** Whether the first of the unsent lines may have arrived: sending it was cut off. */
  get isFirstUncertain(): boolean {
    return this.#isCutOff;
  }

  /** Whether one more may be added. */
  get hasRoom(): boolean {
    return this.size < waitingMax.count && this.#characters < waitingMax.characters;
  }

  /** Adds one. Check `hasRoom` first. */
  add(outgoing: Outgoing): void {
    this.#queue.push(outgoing);
    this.#characters += outgoing.typed.length;
    this.#pump();
  }

  /** The connection broke, or is back. */
  wake(): void {
    if (this.deps.isAway() && this.size > 0) this.#wait();
    this.#pump();
  }

  /** Resolves when one less waits. */
  less(): Promise<void> {
    return new Promise((resolve) => void this.#whenLess.push(resolve));
  }

  /** Resolves when everything was sent or refused. */
  async empty(): Promise<void> {
    while (this.size > 0) await this.less();
  }

  /** Resolves when nothing is being sent. */
  settled(): Promise<void> {
    return this.#pumping;
  }

  #pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    this.#pumping = this.#sendAll();
  }

  async #sendAll(): Promise<void> {
    for (let attempt = 0; this.#queue[0] !== undefined && !this.deps.signal.aborted; ) {
      if (this.deps.isAway()) {
        this.#wait();
        break;
      }
      if (await this.#sends(this.#queue[0])) attempt = 0;
      else await pause(backoffMs(attempt++, retryMs), this.deps.signal).catch(() => undefined);
    }
    this.#isPumping = false;
  }

  /** Sends one. Returns false if nothing was sent and it is to be tried again. */
  async #sends(outgoing: Outgoing): Promise<boolean> {
    try {
      await outgoing.send();
      if (this.#sentSince !== null) this.#sentSince += 1;
    } catch (error) {
      if (this.deps.signal.aborted) {
        this.#isCutOff = true;
        return false;
      }
      if (isUnibusError(error) && error.code === "unavailable") {
        this.#wait();
        return false;
      }
      this.deps.onRefused(outgoing, error);
    }
    this.#queue.shift();
    this.#characters -= outgoing.typed.length;
    this.#report();
    return true;
  }

  #wait(): void {
    if (this.#sentSince !== null) return;
    this.#sentSince = 0;
    this.deps.onWaiting();
  }

  #report(): void {
    for (const resolve of this.#whenLess.splice(0)) resolve();
    if (this.size > 0 || this.#sentSince === null) return;
    if (this.#sentSince > 0) this.deps.onSent(this.#sentSince);
    this.#sentSince = null;
  }
}
