/**
 * A durable subscription: the position in a room that the server keeps for one device of this peer.
 *
 * The application handles messages one at a time, and each is acked when its handler returns. A message that was not
 * acked is redelivered, perhaps out of order. Messages that wait their turn send progress acks, so that the server does
 * not redeliver them. An ack that the current login does not permit yet is sent again once, after a reconnect. Used by
 * `Room`.
 */
import { UnibusError } from "../../wire/errors.ts";
import type { Dropped, Frame } from "../../wire/frame.ts";
import { consumerName, deliverSubject, mainDevice, streamName } from "../../wire/names.ts";
import type { ConnectionManager } from "../transport/connection-manager.ts";
import type { ControlPlane } from "../transport/control.ts";
import type { DeliveryTaker } from "../transport/deliveries.ts";
import type { LiveMessage } from "../transport/live-message.ts";
import type { Received, Receiver } from "./receiver.ts";

/**
 * How often progress is reported for an unfinished message, in milliseconds. The server redelivers after 10 s.
 * Source: docs/protocol/durables.md.
 */
const progressEveryMs = 4_000;
/** Maximum number of waiting messages. The server sends at most 32 without an ack; any excess is redelivered. */
const waitingMax = 64;

/** Maximum number of resent acks to remember. */
const sentAgainMax = 1_000;

/** The options of `durable`. */
export interface DurableOptions {
  /** `[a-z0-9]{1,16}`. Each device has its own position. Default: `main`. */
  readonly device?: string;
  readonly signal?: AbortSignal | undefined;
}

/** The dependencies of a `Durable`. */
export interface DurableDeps {
  readonly roomId: string;
  readonly live: ConnectionManager;
  readonly control: ControlPlane;
  readonly receiver: Receiver;
  /** Sets the handler of a delivery subject and subscribes to it; null removes both. */
  readonly deliver: (subject: string, taker: DeliveryTaker | null) => Promise<void>;
  readonly onTrouble: (error: unknown) => void;
}

/**
 * A position in a room that the server keeps for one device of this peer. Messages are handled one at a time and acked
 * when the handler returns, which may take any time: the client reports progress, so that the server does not redeliver
 * it after 10 s. If the handler throws, the error is a `trouble`, the next message is handled, and this one is
 * redelivered after about 10 s, out of order, until the handler returns. A message that is delivered twice has the same
 * `from` and `id`. Source: docs/protocol/durables.md.
 */
export class Durable implements AsyncDisposable {
  readonly #subject: string;
  /**
   * The prefix of valid ack subjects. An ack goes only to this durable's own consumer, whatever the server asks for.
   */
  readonly #acks: string;
  /** The ack subjects of messages that wait or are being handled. */
  readonly #waiting = new Set<string>();
  /** Acks that were refused, and acks that were sent again since, oldest first. */
  readonly #refused = new Set<string>();
  readonly #sentAgain = new Set<string>();
  #sendingAgain: Promise<void> | null = null;
  #working: Promise<void> = Promise.resolve();
  #progress: ReturnType<typeof setInterval> | undefined;
  #isClosed = false;

  private constructor(
    private readonly deps: DurableDeps,
    private readonly onReceived: (received: Received, seq: number) => unknown,
    readonly device: string,
  ) {
    const { endpoint } = deps.control.identity;
    this.#subject = deliverSubject(endpoint, deps.roomId, device);
    this.#acks = `$JS.ACK.${streamName(deps.roomId)}.${consumerName(deps.roomId, endpoint, device)}.`;
  }

  /** Binds a device. Errors: conflict if the room is not persisted; quota for too many devices; forbidden, gone. */
  static async bind(
    deps: DurableDeps,
    onReceived: (received: Received, seq: number) => unknown,
    { device = mainDevice, signal }: DurableOptions,
  ): Promise<Durable> {
    const durable = new Durable(deps, onReceived, device);
    const subject = durable.#subject;
    // Subscribe before the bind, which starts the deliveries.
    const refused = (ack: string) => durable.#ackRefused(ack);
    await deps.deliver(subject, { take: (message) => durable.#take(message), refused });
    try {
      const { deliver } = await deps.control.bindDurable(deps.roomId, device, signal);
      if (deliver !== subject)
        throw new UnibusError("forbidden", "the server returned another delivery subject (do not trust it)");
      return durable;
    } catch (error) {
      await deps.deliver(subject, null);
      throw error;
    }
  }

  /**
   * Stops after the message being handled. The server keeps the position: the next `durable` of this device resumes
   * there.
   */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.deps.deliver(this.#subject, null);
    await this.#working;
  }

  /** Stops and deletes the position. Errors: those of DELETE durable. */
  async forget(signal?: AbortSignal): Promise<void> {
    await this.close();
    await this.deps.control.unbindDurable(this.deps.roomId, this.device, signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #take({ frame, reply }: LiveMessage): void {
    if (this.#isClosed || reply?.startsWith(this.#acks) !== true) return;
    if (this.#waiting.size >= waitingMax || this.#waiting.has(reply)) return;
    this.#waiting.add(reply);
    this.#progress ??= setInterval(() => this.#sayProgress(), progressEveryMs);
    this.#working = this.#working
      .then(() => this.#work(frame, reply))
      .catch(this.deps.onTrouble)
      .finally(() => this.#done(reply));
  }

  async #work(frame: Frame | Dropped, ack: string): Promise<void> {
    // Messages still waiting at `close` are not handled; the server redelivers them.
    if (this.#isClosed) return;
    const received = await this.deps.receiver.open(frame, "history");
    // The ack's subject goes on with the number of deliveries and the sequence number.
    const seq = Number(ack.slice(this.#acks.length).split(".")[1]) || 0;
    if (received !== null) await this.onReceived(received, seq);
    // Ack an invalid message, too: otherwise it is redelivered for ever.
    this.deps.live.line.publish(ack, "+ACK");
  }

  /**
   * Handles a refused ack. The connection may be older than the consumer, so a new login may be permitted. Each ack is
   * sent again once.
   */
  #ackRefused(ack: string): void {
    if (this.#isClosed || !ack.startsWith(this.#acks) || this.#sentAgain.has(ack)) return;
    this.#refused.add(ack);
    this.#sendingAgain ??= this.#sendAgain()
      .catch(this.deps.onTrouble)
      .finally(() => {
        this.#sendingAgain = null;
      });
  }

  async #sendAgain(): Promise<void> {
    await this.deps.live.refresh();
    for (const ack of this.#refused) {
      this.#refused.delete(ack);
      // A message still in progress is acked when its handler returns.
      if (this.#waiting.has(ack)) continue;
      this.#sentAgain.add(ack);
      this.deps.live.line.publish(ack, "+ACK");
    }
    for (const oldest of this.#sentAgain) {
      if (this.#sentAgain.size <= sentAgainMax) break;
      this.#sentAgain.delete(oldest);
    }
  }

  /** Reports progress for waiting messages, too: otherwise the server redelivers them. */
  #sayProgress(): void {
    if (!this.deps.live.isUp) return;
    try {
      for (const ack of this.#waiting) this.deps.live.line.publish(ack, "+WPI");
    } catch (error) {
      this.deps.onTrouble(error);
    }
  }

  #done(ack: string): void {
    this.#waiting.delete(ack);
    if (this.#waiting.size > 0) return;
    clearInterval(this.#progress);
    this.#progress = undefined;
  }
}
