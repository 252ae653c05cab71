/** How a room's requests are answered: which messages are requests, and where their answers may go. */
import { UnibusError } from "../wire/errors.ts";
import { frameTypes } from "../wire/frame.ts";
import { type Feed, lapsed } from "./feed.ts";
import { type Message, Request } from "./message.ts";
import { waitingAt } from "./replies.ts";
import type { RoomReader } from "./room-reader.ts";
import type { Told } from "./tail.ts";

/** How many requests are answered at once: in all, and of one sender. More are not answered. */
const answersMax = { all: 1_000, ofSender: 250 } as const;

/** What answers requests. */
export type Answer = (request: Message) => Promise<Uint8Array | string> | Uint8Array | string;

interface AnswersParts {
  readonly reader: () => RoomReader;
  /** This peer's endpoint: it does not answer itself. */
  readonly me: string;
  /** Seals an answer to the message with an id, and sends it to a reply subject. */
  readonly send: (data: Uint8Array | string, to: { readonly id: string; readonly subject: string }) => Promise<void>;
  readonly onTrouble: (error: unknown) => void;
}

/** The answers to one room's requests. */
export class Answers {
  #stop: (() => void) | null = null;
  #count = 0;
  /** How many of each sender are being answered. */
  readonly #bySender = new Map<string, number>();

  constructor(private readonly parts: AnswersParts) {}

  /**
   * Answers requests with what `answer` gives, until what is returned is called. One that throws answers nothing.
   * Resolves when requests of now on will be answered.
   */
  async respond(answer: Answer): Promise<() => void> {
    this.#stop?.();
    const reader = this.parts.reader();
    const { feed, ready } = reader.attach();
    const stop = () => reader.detach(feed);
    this.#stop = stop;
    void this.#answerAll(feed, answer).finally(stop);
    await ready;
    return stop;
  }

  /** A message that waits to be answered, where its sender waits itself: nobody makes this peer write elsewhere. */
  requestOf({ received, reply }: Told): Request | null {
    const { from, id, t } = received.frame;
    const isAsked = reply !== undefined && waitingAt(reply) === from && t === frameTypes.PUB;
    if (!isAsked || from === this.parts.me) return null;
    return new Request(received, (data) => this.parts.send(data, { id, subject: reply }));
  }

  async #answerAll(feed: Feed, answer: Answer): Promise<void> {
    try {
      for (let told = await feed.next(); told !== null; told = await feed.next()) {
        const request = told === lapsed ? null : this.requestOf(told);
        // One that takes long does not keep the next waiting.
        if (request !== null) void this.#answer(request, answer);
      }
    } catch (error) {
      this.parts.onTrouble(error);
    }
  }

  async #answer(request: Request, answer: Answer): Promise<void> {
    const ofSender = this.#bySender.get(request.from) ?? 0;
    if (this.#count >= answersMax.all || ofSender >= answersMax.ofSender) {
      const what = `a request of ${request.from} was not answered: ${ofSender} of theirs, ${this.#count} in all`;
      this.parts.onTrouble(new UnibusError("quota", `${what} are being worked on (answer faster)`));
      return;
    }
    this.#count += 1;
    this.#bySender.set(request.from, ofSender + 1);
    try {
      await request.respond(await answer(request));
    } catch (error) {
      this.parts.onTrouble(error);
    } finally {
      this.#count -= 1;
      const left = (this.#bySender.get(request.from) ?? 1) - 1;
      if (left === 0) this.#bySender.delete(request.from);
      else this.#bySender.set(request.from, left);
    }
  }
}
