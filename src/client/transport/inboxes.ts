/**
 * The inboxes in which a peer waits for replies.
 *
 * Any peer may publish to any `r` inbox, and make JetStream write to any inbox, so junk can be sent to an inbox whose
 * name is known. Each inbox is therefore below a session with a random name, which is subscribed only while it is
 * needed. Junk to other names has no subscriber, and nats-server drops it. The session for requests is created with the
 * first open request and ends with the last. Members see its name in a request, so a flood that matches no request
 * replaces the session. Source: docs/protocol/logins.md.
 */
import { toHex } from "../../wire/encoding.ts";
import type { LiveMessage } from "./live-message.ts";

/**
 * When more messages per second match no open request, the request session is replaced.
 * Source: docs/protocol/logins.md.
 */
const junkPerSecondMax = 100;

/** An open inbox. Dispose it to close it. */
export interface Inbox extends Disposable {
  readonly subject: string;
}

/** A random name for a session or an inbox: 16 random bytes in lowercase hex. */
export function inboxToken(): string {
  return toHex(crypto.getRandomValues(new Uint8Array(16)));
}

/** The format of a reply subject. */
const replySubject = /^_INBOX\.([A-Za-z0-9_-]{43})\.r\.[0-9a-f]{32}\.[0-9a-f]{32}$/;

/** The endpoint that owns a reply subject, or null for any other subject. Source: docs/protocol/logins.md. */
export function waitingAt(subject: string): string | null {
  return replySubject.exec(subject)?.[1] ?? null;
}

/** The open inboxes of this peer, each with a random name. */
export class Inboxes {
  readonly #waiting = new Map<string, (message: LiveMessage) => void>();
  /** Open requests of the current session, and of sessions that were replaced because of a flood. */
  readonly #current = new Set<string>();
  readonly #replaced = new Set<string>();
  #session: string | null = null;
  #junk = { sinceMs: 0, count: 0 };

  /** `onSubjects` is called when `subjects` changes. */
  constructor(
    private readonly endpoint: string,
    private readonly onSubjects: () => unknown,
  ) {}

  /** The subjects to subscribe to for the open requests. */
  get subjects(): string[] {
    return [...(this.#session === null ? [] : [`${this.#session}.>`]), ...this.#replaced];
  }

  /** Opens an inbox for the answers to a request. Messages go to `onMessage` until it is closed. */
  openRequest(onMessage: (message: LiveMessage) => void): Inbox {
    const isNew = this.#session === null;
    this.#session ??= `_INBOX.${this.endpoint}.r.${inboxToken()}`;
    const subject = `${this.#session}.${inboxToken()}`;
    this.#waiting.set(subject, onMessage);
    this.#current.add(subject);
    if (isNew) this.onSubjects();
    return { subject, [Symbol.dispose]: () => this.#close(subject) };
  }

  /** Passes a message to its inbox. */
  take(message: LiveMessage): void {
    const hand = this.#waiting.get(message.subject);
    if (hand === undefined) this.unmatched();
    else hand(message);
  }

  /** Counts a message that answers no request. Too many in a second replace the session. */
  unmatched(): void {
    const nowMs = performance.now();
    if (nowMs - this.#junk.sinceMs >= 1_000) this.#junk = { sinceMs: nowMs, count: 0 };
    this.#junk.count += 1;
    if (this.#junk.count <= junkPerSecondMax || this.#session === null) return;
    this.#junk = { sinceMs: nowMs, count: 0 };
    // Open requests keep only their own inbox of the old session, so that no member can end another member's request.
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
