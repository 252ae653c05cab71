import { UnibusError } from "../wire/errors.ts";
import { consumerName, deliverSubject, mainDevice, streamName } from "../wire/names.ts";
import type { ControlPlane } from "./control.ts";
import type { DeliveryTaker } from "./deliveries.ts";
import type { LiveMessage } from "./line.ts";
import type { Live } from "./live.ts";
import type { Received, Receiver } from "./receiver.ts";

/** How often the bus is told that a message is still worked on, in milliseconds: it waits 10 s. Source: spec 8. */
const progressEveryMs = 4_000;
/** How many messages wait to be worked on: the bus sends 32 before it waits for an ack. What is more comes again. */
const waitingMax = 64;

/** How many acks that were sent again are remembered. */
const sentAgainMax = 1_000;

/** Which place is followed. */
export interface DurableOptions {
  /** `[a-z0-9]{1,16}`; each device has a place of its own. Default: `main`. */
  readonly device?: string;
  readonly signal?: AbortSignal | undefined;
}

/** What a durable needs. */
export interface DurableParts {
  readonly roomId: string;
  readonly live: Live;
  readonly control: ControlPlane;
  readonly receiver: Receiver;
  /** Begins to take what is delivered to a subject, or, without a taker, ends it. */
  readonly deliver: (subject: string, taker: DeliveryTaker | null) => Promise<void>;
  readonly onTrouble: (error: unknown) => void;
}

/**
 * A place in a room that the bus keeps for one device of this peer. Each message is worked on in its turn and
 * acknowledged when that has ended; what was not acknowledged comes again, perhaps out of order. Source: spec 8.
 */
export class Durable implements AsyncDisposable {
  readonly #subject: string;
  /** Acks go to this place's own consumer, wherever the bus says. */
  readonly #acks: string;
  /** The acks of what waits or is worked on. */
  readonly #waiting = new Set<string>();
  /** Acks that were refused, and those that were sent again since, the oldest first. */
  readonly #refused = new Set<string>();
  readonly #sentAgain = new Set<string>();
  #sendingAgain: Promise<void> | null = null;
  #working: Promise<void> = Promise.resolve();
  #progress: ReturnType<typeof setInterval> | undefined;
  #isClosed = false;

  private constructor(
    private readonly parts: DurableParts,
    private readonly onReceived: (received: Received) => unknown,
    readonly device: string,
  ) {
    const { endpoint } = parts.control.identity;
    this.#subject = deliverSubject(endpoint, parts.roomId, device);
    this.#acks = `$JS.ACK.${streamName(parts.roomId)}.${consumerName(parts.roomId, endpoint, device)}.`;
  }

  /** Binds a device. Errors: conflict for a room that is not kept; quota for too many devices; forbidden, gone. */
  static async bind(
    parts: DurableParts,
    onReceived: (received: Received) => unknown,
    { device = mainDevice, signal }: DurableOptions,
  ): Promise<Durable> {
    const durable = new Durable(parts, onReceived, device);
    const subject = durable.#subject;
    // The subscription comes first: what is delivered begins with it.
    const refused = (ack: string) => durable.#ackRefused(ack);
    await parts.deliver(subject, { take: (message) => durable.#take(message), refused });
    try {
      const { deliver } = await parts.control.bindDurable(parts.roomId, device, signal);
      if (deliver !== subject) throw new UnibusError("forbidden", "the bus delivers elsewhere (do not trust it)");
      return durable;
    } catch (error) {
      await parts.deliver(subject, null);
      throw error;
    }
  }

  /** Stops, after what is worked on. The place stays: the next `durable` of this device goes on there. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.parts.deliver(this.#subject, null);
    await this.#working;
  }

  /** Stops, and gives the place up. Errors: those of DELETE durable. */
  async forget(signal?: AbortSignal): Promise<void> {
    await this.close();
    await this.parts.control.unbindDurable(this.parts.roomId, this.device, signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #take({ data, reply }: LiveMessage): void {
    if (this.#isClosed || reply?.startsWith(this.#acks) !== true) return;
    if (this.#waiting.size >= waitingMax || this.#waiting.has(reply)) return;
    this.#waiting.add(reply);
    this.#progress ??= setInterval(() => this.#sayProgress(), progressEveryMs);
    this.#working = this.#working
      .then(() => this.#work(data, reply))
      .catch(this.parts.onTrouble)
      .finally(() => this.#done(reply));
  }

  async #work(data: Uint8Array, ack: string): Promise<void> {
    // What waits when it is closed is not worked on: it comes again.
    if (this.#isClosed) return;
    const received = await this.parts.receiver.open(data, "history");
    if (received !== null) await this.onReceived(received);
    // What does not hold is done with, too: it would come again for ever.
    this.parts.live.line.publish(ack, "+ACK");
  }

  /** The connection may be older than the consumer: the next one may acknowledge. An ack is sent again once. */
  #ackRefused(ack: string): void {
    if (this.#isClosed || !ack.startsWith(this.#acks) || this.#sentAgain.has(ack)) return;
    this.#refused.add(ack);
    this.#sendingAgain ??= this.#sendAgain()
      .catch(this.parts.onTrouble)
      .finally(() => {
        this.#sendingAgain = null;
      });
  }

  async #sendAgain(): Promise<void> {
    await this.parts.live.refresh();
    for (const ack of this.#refused) {
      this.#refused.delete(ack);
      // What is still worked on is acknowledged when that has ended.
      if (this.#waiting.has(ack)) continue;
      this.#sentAgain.add(ack);
      this.parts.live.line.publish(ack, "+ACK");
    }
    for (const oldest of this.#sentAgain) {
      if (this.#sentAgain.size <= sentAgainMax) break;
      this.#sentAgain.delete(oldest);
    }
  }

  /** What waits for its turn is worked on, too: else the bus would send it again. */
  #sayProgress(): void {
    if (!this.parts.live.isUp) return;
    try {
      for (const ack of this.#waiting) this.parts.live.line.publish(ack, "+WPI");
    } catch (error) {
      this.parts.onTrouble(error);
    }
  }

  #done(ack: string): void {
    this.#waiting.delete(ack);
    if (this.#waiting.size > 0) return;
    clearInterval(this.#progress);
    this.#progress = undefined;
  }
}
