/**
 * Requests of one room: a message with a reply inbox, and the first member's answer to it. Any member can publish to
 * the inbox of a request, so replies are verified like any message, and those that are not an answer are skipped.
 * Source: docs/protocol/rpc.md.
 */
import { UnibusError } from "../../wire/errors.ts";
import { type Dropped, type Frame, isDropped } from "../../wire/frame.ts";
import type { ConnectionManager } from "../transport/connection-manager.ts";
import type { Inboxes } from "../transport/inboxes.ts";
import { waitFor } from "../transport/wait.ts";
import { Message } from "./message.ts";
import type { Outgoing, Publisher, SendOptions } from "./publisher.ts";
import type { Receiver } from "./receiver.ts";
import { answerOfServer } from "./stream-ack.ts";

/** Default timeout of a request, in milliseconds. */
export const requestTimeoutMs = 5_000;

interface RequestsDeps {
  readonly replies: Inboxes;
  readonly receiver: Receiver;
  readonly data: () => Promise<{ readonly live: ConnectionManager; readonly publisher: Publisher }>;
  readonly onTrouble: (error: unknown) => void;
}

/** A request to send: its id, and a function that seals it once there is a connection. */
export interface RequestDraft {
  readonly id: string;
  readonly seal: () => Promise<Outgoing>;
}

/** The requests of one room. */
export class Requests {
  constructor(private readonly deps: RequestsDeps) {}

  /** Sends a request and returns the first answer. Errors: timeout if no member answers; those of sending. */
  async request({ id, seal }: RequestDraft, options: SendOptions): Promise<Message> {
    const { live, publisher } = await waitFor(this.deps.data(), options.signal);
    let settle: (end: Message | UnibusError) => void = () => undefined;
    const answered = new Promise<Message | UnibusError>((resolve) => {
      settle = resolve;
    });
    // A peer can forge JetStream's reply. So its error is only used at the timeout, when no member answered.
    let refusal: UnibusError | null = null;
    const { replies, onTrouble } = this.deps;
    let isAcked = false;
    const inbox = replies.openRequest(({ data, frame }) => {
      const server = isDropped(frame) ? answerOfServer(data) : null;
      if (server === null) {
        const take = (answer: Message | null): void => (answer === null ? replies.unmatched() : settle(answer));
        void this.#answerIn(frame, id).then(take, onTrouble);
        return;
      }
      // In a room with history, one ack arrives in the same inbox.
      if (isAcked) replies.unmatched();
      isAcked = true;
      refusal ??= server.refusal;
    });
    // Subscribe before the request is sent: on one connection, the order is kept.
    if (live.isUp && !live.line.carries(inbox.subject)) live.followNow();
    const within = options.timeoutMs ?? requestTimeoutMs;
    const hint = "check that a member answers requests, for example with unibus serve-rpc";
    const timeout = new UnibusError("timeout", `no reply within ${within / 1_000} s (${hint})`);
    const timer = setTimeout(() => settle(refusal ?? timeout), within);
    try {
      if (!live.isUp && options.offline === "refuse") void live.line;
      await publisher.send({ ...(await seal()), reply: inbox.subject }, { ...options, timeoutMs: within });
      const end = await waitFor(answered, options.signal);
      if (end instanceof Message) return end;
      throw end;
    } finally {
      clearTimeout(timer);
      inbox[Symbol.dispose]();
    }
  }

  /** Opens an answer to the request with this id; null if it is not one. */
  async #answerIn(frame: Frame | Dropped, requestId: string): Promise<Message | null> {
    const { receiver } = this.deps;
    const received = await receiver.open(frame, "live");
    if (received === null || received.frame.re !== requestId) return null;
    return receiver.memory.add(received.frame) === null ? null : new Message(received);
  }
}
