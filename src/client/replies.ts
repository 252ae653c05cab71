import { toBase64Url } from "../wire/encoding.ts";
import type { LiveMessage } from "./line.ts";

/** The size of a token: nobody guesses it. Source: spec 9. */
const tokenBytes = 16;

/** What an inbox is for: acks of JetStream, where no peer may publish, or replies of peers. */
export type InboxKind = "a" | "r";

/** An inbox that somebody waits at. It is given back by `close`. */
export interface Inbox extends Disposable {
  readonly subject: string;
}

/** The shape of a subject at which a peer waits for replies. */
const replySubject = /^_INBOX\.([A-Za-z0-9_-]{43})\.r\.[A-Za-z0-9_-]{22}$/;

/** The endpoint that waits at a reply subject, or null for any other subject. Source: spec 9. */
export function waitingAt(subject: string): string | null {
  return replySubject.exec(subject)?.[1] ?? null;
}

/** The inboxes at which this peer waits, each with a fresh token. */
export class Replies {
  readonly #waiting = new Map<string, (message: LiveMessage) => void>();

  constructor(private readonly endpoint: string) {}

  /** Opens an inbox: what comes there is told until it is closed. */
  open(kind: InboxKind, onMessage: (message: LiveMessage) => void): Inbox {
    const token = toBase64Url(crypto.getRandomValues(new Uint8Array(tokenBytes)));
    const subject = `_INBOX.${this.endpoint}.${kind}.${token}`;
    this.#waiting.set(subject, onMessage);
    return { subject, [Symbol.dispose]: () => void this.#waiting.delete(subject) };
  }

  /** Takes what came to an inbox. What nobody waits for is junk. */
  take(message: LiveMessage): void {
    this.#waiting.get(message.subject)?.(message);
  }
}
