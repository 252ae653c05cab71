/** Answers the requests of a room: recognizes which messages are requests, and decides where an answer may be sent. */
import { UnibusError } from "../../wire/errors.ts";
import { frameTypes } from "../../wire/frame.ts";
import { waitingAt } from "../transport/inboxes.ts";
import { type Message, Request } from "./message.ts";
import { lapsed, type MessageQueue } from "./message-queue.ts";
import type { RoomReader } from "./room-reader.ts";
import type { DeliveredFrame } from "./room-subscription.ts";

/**
 * Maximum number of requests being answered at once: in total, and for each sender. Requests beyond that are dropped.
 */
const answersMax = { all: 1_000, ofSender: 250 } as const;

/** The application's handler: returns the answer to a request. */
export type Answer = (request: Message) => Promise<Uint8Array | string> | Uint8Array | string;

interface AnswersDeps {
  readonly reader: () => RoomReader;
  /** This peer's endpoint. A peer does not answer its own requests. */
  readonly me: string;
  /** Seals an answer to the message with this id, and sends it to the reply subject. */
  readonly send: (data: Uint8Array | string, to: { readonly id: string; readonly subject: string }) => Promise<void>;
  readonly onTrouble: (error: unknown) => void;
}

/** Answers the requests of one room. */
export class Answers {
  #stop: (() => void) | null = null;
  #count = 0;
  /** The number of requests being answered, by sender. */
  readonly #bySender = new Map<string, number>();

  constructor(private readonly deps: AnswersDeps) {}

  /**
   * Answers requests with what `answer` returns, until the returned function is called. If `answer` throws, no answer
   * is sent. Resolves when every request from now on will be answered.
   */
  async respond(answer: Answer): Promise<() => void> {
    this.#stop?.();
    const reader = this.deps.reader();
    const { feed, ready } = reader.attach();
    const stop = () => reader.detach(feed);
    this.#stop = stop;
    void this.#answerAll(feed, answer).finally(stop);
    await ready;
    return stop;
  }

  /**
   * The request that a message represents, or null if it asks for no answer. The reply subject must be the sender's own
   * inbox, so that no sender can make this peer write elsewhere.
   */
  requestOf({ received, reply }: Pick<DeliveredFrame, "received" | "reply">): Request | null {
    const { from, id, t } = received.frame;
    const isAsked = reply !== undefined && waitingAt(reply) === from && t === frameTypes.PUB;
    if (!isAsked || from === this.deps.me) return null;
    return new Request(received, (data) => this.deps.send(data, { id, subject: reply }));
  }

  async #answerAll(feed: MessageQueue, answer: Answer): Promise<void> {
    try {
      for (let delivered = await feed.next(); delivered !== null; delivered = await feed.next()) {
        const request = delivered === lapsed ? null : this.requestOf(delivered);
        // Not awaited: a slow answer must not delay the next one.
        if (request !== null) void this.#answer(request, answer);
      }
    } catch (error) {
      this.deps.onTrouble(error);
    }
  }

  async #answer(request: Request, answer: Answer): Promise<void> {
    const ofSender = this.#bySender.get(request.from) ?? 0;
    if (this.#count >= answersMax.all || ofSender >= answersMax.ofSender) {
      const what = `dropped a request from ${request.from}: ${ofSender} of its requests and ${this.#count} in total`;
      this.deps.onTrouble(new UnibusError("quota", `${what} are still being answered (answer faster)`));
      return;
    }
    this.#count += 1;
    this.#bySender.set(request.from, ofSender + 1);
    try {
      await request.respond(await answer(request));
    } catch (error) {
      this.deps.onTrouble(error);
    } finally {
      this.#count -= 1;
      const left = (this.#bySender.get(request.from) ?? 1) - 1;
      if (left === 0) this.#bySender.delete(request.from);
      else this.#bySender.set(request.from, left);
    }
  }
}
