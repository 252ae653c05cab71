import { UnibusError } from "../wire/errors.ts";
import { deliverSubject, mainDevice } from "../wire/names.ts";
import type { ControlPlane } from "./control.ts";
import type { LiveMessage } from "./line.ts";
import type { Live } from "./live.ts";
import type { Received, Receiver } from "./receiver.ts";

/** How often the bus is told that a message is still worked on, in milliseconds: it waits 10 s. Source: spec 8. */
const progressEveryMs = 4_000;

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
  readonly deliver: (subject: string, take: ((message: LiveMessage) => void) | null) => Promise<void>;
  readonly onTrouble: (error: unknown) => void;
}

/**
 * A place in a room that the bus keeps for one device of this peer. Each message is worked on in its turn and
 * acknowledged when that has ended; what was not acknowledged comes again, perhaps out of order. Source: spec 8.
 */
export class Durable implements AsyncDisposable {
  readonly #subject: string;
  #working: Promise<void> = Promise.resolve();
  #isClosed = false;

  private constructor(
    private readonly parts: DurableParts,
    private readonly onReceived: (received: Received) => unknown,
    readonly device: string,
  ) {
    this.#subject = deliverSubject(parts.control.identity.endpoint, parts.roomId, device);
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
    await parts.deliver(subject, (message) => durable.#take(message));
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
    if (reply === undefined || !reply.startsWith("$JS.ACK.")) return;
    this.#working = this.#working.then(() => this.#work(data, reply)).catch(this.parts.onTrouble);
  }

  async #work(data: Uint8Array, ack: string): Promise<void> {
    // What waits when it is closed is not worked on: it comes again.
    if (this.#isClosed) return;
    const say = (word: string) => this.parts.live.connection.publish(ack, word);
    const progress = setInterval(() => {
      if (this.parts.live.isUp) say("+WPI");
    }, progressEveryMs);
    try {
      const received = await this.parts.receiver.open(data, "history");
      if (received !== null) await this.onReceived(received);
      // What does not hold is done with, too: it would come again for ever.
      say("+ACK");
    } finally {
      clearInterval(progress);
    }
  }
}
