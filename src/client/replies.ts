/**
 * The inboxes at which a peer waits for answers.
 *
 * A peer may publish into any `r` inbox, and have JetStream write into any inbox, so junk can be sent to a guessed one.
 * Each inbox is therefore below a session that nobody can guess and that is followed only while it is needed: junk for
 * anything else has no subscriber, and nats-server drops it. The session of requests is made at the first open request
 * and dropped with the last. Members see it with a request, so a flood that matches no request replaces it.
 * Source: spec 9.
 */
import { toHex } from "../wire/encoding.ts";
import type { LiveMessage } from "./line.ts";

/** Messages a second that match no open request, after which the session of requests is replaced. Source: spec 9. */
const junkPerSecondMax = 100;

/** An inbox that somebody waits at. It is given back by `close`. */
export interface Inbox extends Disposable {
  readonly subject: string;
}

/** A session or a token: 16 random bytes in lowercase hex. */
export function inboxToken(): string {
  return toHex(crypto.getRandomValues(new Uint8Array(16)));
}

/** The shape of a subject at which a peer waits for replies. */
const replySubject = /^_INBOX\.([A-Za-z0-9_-]{43})\.r\.[0-9a-f]{32}\.[0-9a-f]{32}$/;

/** The endpoint that waits at a reply subject, or null for any other subject. Source: spec 9. */
export function waitingAt(subject: string): string | null {
  return replySubject.exec(subject)?.[1] ?? null;
}

/** The inboxes at which this peer waits, each with a fresh token. */
export class Replies {
  readonly #waiting = new Map<string, (message: LiveMessage) => void>();
  /** Open requests of the session in use, and of sessions that a flood has replaced. */
  readonly #current = new Set<string>();
  readonly #replaced = new Set<string>();
  #session: string | null = null;
  #junk = { sinceMs: 0, count: 0 };

  /** `onSubjects` is called when `subjects` are others than before. */
  constructor(
    private readonly endpoint: string,
    private readonly onSubjects: () => unknown,
  ) {}

  /** What is followed for the open requests. */
  get subjects(): string[] {
    return [...(this.#session === null ? [] : [`${this.#session}.>`]), ...this.#replaced];
  }

  /** Opens an inbox for acks of JetStream below the one of a connection, which alone brings them. */
  openAck(below: string, onMessage: (message: LiveMessage) => void): Inbox {
    const subject = `${below}.${inboxToken()}`;
    this.#waiting.set(subject, onMessage);
    return { subject, [Symbol.dispose]: () => void this.#waiting.delete(subject) };
  }

  /** Opens an inbox for the answers to a request: what comes there is handed over until it is closed. */
  openRequest(onMessage: (message: LiveMessage) => void): Inbox {
    const isNew = this.#session === null;
    this.#session ??= `_INBOX.${this.endpoint}.r.${inboxToken()}`;
    const subject = `${this.#session}.${inboxToken()}`;
    this.#waiting.set(subject, onMessage);
    this.#current.add(subject);
    if (isNew) this.onSubjects();
    return { subject, [Symbol.dispose]: () => this.#close(subject) };
  }

  /** Takes what came to an inbox. */
  take(message: LiveMessage): void {
    const hand = this.#waiting.get(message.subject);
    if (hand === undefined) this.unmatched();
    else hand(message);
  }

  /** Counts a message that is no answer to any request. Too many of them in a second replace the session. */
  unmatched(): void {
    const nowMs = performance.now();
    if (nowMs - this.#junk.sinceMs >= 1_000) this.#junk = { sinceMs: nowMs, count: 0 };
    this.#junk.count += 1;
    if (this.#junk.count <= junkPerSecondMax || this.#session === null) return;
    this.#junk = { sinceMs: nowMs, count: 0 };
    // Requests that wait keep their own inbox, and nothing else of the session: no member ends another's request.
    for (const subject of this.#current) this.#replaced.add(subject);
    this.#current.clear();
    this.#session = null;
    this.onSubjects();
  }

  #close(subject: string): void {
    this.#waiting.delete(subject);
    const wasLast = this.#current.delete(subject) && this.#current.size === 0;
    if (wasLast) this.#session = null;
    if (this.#replaced.delete(subject) || wasLast) this.onSubjects();
  }
}
