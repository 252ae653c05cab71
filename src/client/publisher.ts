import { headers, type MsgHdrs, type NatsConnection } from "#nats";
import { UnibusError } from "../wire/errors.ts";
import { streamName } from "../wire/names.ts";
import type { Live } from "./live.ts";
import type { Replies } from "./replies.ts";
import { pause, waitFor } from "./wait.ts";

/** How long one attempt waits for its ack, in milliseconds. Source: spec 8. */
const ackTimeoutMs = 5_000;
/** How long a message is tried where nothing is said, in milliseconds. */
const sendTimeoutMs = 30_000;
/** Pause before the next look whether there is a connection again, in milliseconds. */
const retryPauseMs = 50;

/** What a publish is made of. */
export interface Outgoing {
  readonly roomId: string;
  readonly subject: string;
  /** `<from>.<id>`, by which JetStream knows a second copy; null where nothing is kept. Source: spec 8. */
  readonly dedupId: string | null;
  readonly bytes: Uint8Array;
  /** Where a reply is to come. */
  readonly reply?: string;
}

/** How long a message is tried, and what becomes of it without a connection. */
export interface SendOptions {
  /** In all, in milliseconds. Default: 30 s. */
  readonly timeoutMs?: number;
  /** `wait`: it is sent when there is a connection again. `refuse`: it fails at once. Default: wait. */
  readonly offline?: "wait" | "refuse";
  readonly signal?: AbortSignal | undefined;
}

/** What may wait to be sent. */
export interface SendLimits {
  readonly messagesMax: number;
  readonly bytesMax: number;
}

/** What JetStream says of a publish. */
interface Ack {
  readonly stream?: string;
  readonly seq?: number;
  readonly duplicate?: boolean;
  readonly error?: { readonly err_code?: number };
}

/** Why an attempt has no ack: nobody answered, the connection broke, or the server refused the publish. */
type Unacked = "late" | "broken" | "refused";

/** JetStream's code for a stream that is full and refuses. */
const fullCode = 10077;

/** What an ack of JetStream says, or null for what is none. */
function ackOf(data: Uint8Array): Ack | null {
  try {
    const ack = JSON.parse(new TextDecoder().decode(data)) as Ack | null;
    return typeof ack === "object" && ack !== null && ("stream" in ack || "error" in ack) ? ack : null;
  } catch {
    return null;
  }
}

/** The error of an ack that refuses, or null. */
function refusalOf(ack: Ack | null): UnibusError | null {
  if (ack?.error === undefined) return null;
  if (ack.error.err_code === fullCode) return new UnibusError("quota", "the room is full (ask its owner, or an admin)");
  return new UnibusError("unavailable", "the room cannot store messages at the moment (try again)");
}

/** What JetStream refuses in answer to a request, or null for any other answer. */
export function refusalIn(data: Uint8Array): UnibusError | null {
  return refusalOf(ackOf(data));
}

/** The sequence that an ack promises. Errors: quota, unavailable; forbidden for what is no promise for this room. */
function sequenceOf(ack: Ack, roomId: string, attempt: number): number {
  if (ack.stream !== streamName(roomId) || !Number.isSafeInteger(ack.seq)) {
    throw new UnibusError("forbidden", "the bus acknowledged a message for another room (do not trust it)");
  }
  if (ack.duplicate === true && attempt === 1) {
    throw new UnibusError("forbidden", "the bus called a new message a copy, and did not store it (do not trust it)");
  }
  return ack.seq ?? 0;
}

/** The options of a publish: a header by which JetStream knows a second copy, and where answers go. */
function optionsOf(dedupId: string | null, reply: string | undefined): { headers?: MsgHdrs; reply?: string } {
  const options = reply === undefined ? {} : { reply };
  if (dedupId === null) return options;
  const dedup = headers();
  dedup.set("Nats-Msg-Id", dedupId);
  return { ...options, headers: dedup };
}

/** One attempt that waits for its ack. */
interface Waiting {
  readonly subject: string;
  readonly settle: (end: Ack | Unacked) => void;
}

/**
 * Publishes frames over whatever connection there is. What waits is bounded: more is refused.
 * A message that was stored is tried with the same id until the stream's own word for it is here.
 */
export class Publisher {
  readonly #waiting = new Set<Waiting>();
  #messages = 0;
  #bytes = 0;
  #flushing: { readonly of: NatsConnection; readonly done: Promise<boolean> } | null = null;

  constructor(
    private readonly live: Live,
    private readonly replies: Replies,
    private readonly limits: SendLimits,
  ) {}

  /** The server refused a publish to a subject: nothing that waits for an ack there need wait longer. */
  refused(subject: string): void {
    for (const one of this.#waiting) if (one.subject === subject) one.settle("refused");
  }

  /** The connection broke: what has no ack is sent again. */
  broken(): void {
    for (const one of this.#waiting) one.settle("broken");
  }

  /** Sends a frame to be stored, and gives its sequence. Errors: those of `send`; quota for a full room; forbidden. */
  store(outgoing: Outgoing, options: SendOptions = {}): Promise<number> {
    return this.#try(outgoing, options, (connection, attempt, within) => {
      return this.#storeOnce(connection, outgoing, { attempt, within, signal: options.signal });
    });
  }

  /**
   * Hands a frame to the server.
   * Errors: quota when too much waits already; timeout; unavailable without a connection where that is asked for; the
   * signal's reason.
   */
  async send(outgoing: Outgoing, options: SendOptions = {}): Promise<void> {
    await this.#try(outgoing, options, async (connection) => {
      connection.publish(
        outgoing.subject,
        outgoing.bytes,
        outgoing.reply === undefined ? {} : { reply: outgoing.reply },
      );
      return (await waitFor(this.#flush(connection), options.signal)) ? true : null;
    });
  }

  /** Attempts until one gives something; null asks for the next. */
  async #try<T>(
    { bytes }: Outgoing,
    options: SendOptions,
    attemptOnce: (connection: NatsConnection, attempt: number, withinMs: number) => Promise<T | null>,
  ): Promise<T> {
    if (this.#messages >= this.limits.messagesMax || this.#bytes + bytes.length > this.limits.bytesMax) {
      throw new UnibusError("quota", "too many messages wait to be sent (wait for those before)");
    }
    this.#messages += 1;
    this.#bytes += bytes.length;
    const deadline = Date.now() + (options.timeoutMs ?? sendTimeoutMs);
    try {
      for (let attempt = 1; ; attempt++) {
        const connection = await this.#connection(options, deadline);
        const done = await attemptOnce(connection, attempt, Math.min(ackTimeoutMs, deadline - Date.now()));
        if (done !== null) return done;
      }
    } finally {
      this.#messages -= 1;
      this.#bytes -= bytes.length;
    }
  }

  /** The connection, or, where that is asked for, the next one. */
  async #connection({ offline, signal }: SendOptions, deadline: number): Promise<NatsConnection> {
    for (;;) {
      signal?.throwIfAborted();
      if (Date.now() >= deadline) {
        throw new UnibusError(
          "timeout",
          "the message could not be sent in time (it may have arrived: look before it is sent anew)",
        );
      }
      if (this.live.isUp) return this.live.connection;
      if (offline === "refuse" || this.live.isClosed) return this.live.connection;
      await pause(retryPauseMs, signal);
    }
  }

  async #storeOnce(
    connection: NatsConnection,
    { subject, bytes, dedupId, roomId }: Outgoing,
    { attempt, within, signal }: { attempt: number; within: number; signal: AbortSignal | undefined },
  ): Promise<number | null> {
    let settle: Waiting["settle"] = () => undefined;
    const ended = new Promise<Ack | Unacked>((resolve) => {
      settle = resolve;
    });
    const waiting = { subject, settle };
    this.#waiting.add(waiting);
    const inbox = this.replies.open("a", ({ data }) => {
      const ack = ackOf(data);
      if (ack !== null) settle(ack);
    });
    const timer = setTimeout(() => settle("late"), within);
    try {
      connection.publish(subject, bytes, optionsOf(dedupId, inbox.subject));
      const end = signal === undefined ? await ended : await waitFor(ended, signal);
      if (end === "refused")
        throw new UnibusError("forbidden", `the bus refuses messages to ${subject} (are you a member?)`);
      if (end === "late" || end === "broken") return null;
      const refusal = refusalOf(end);
      if (refusal !== null) throw refusal;
      return sequenceOf(end, roomId, attempt);
    } finally {
      clearTimeout(timer);
      inbox[Symbol.dispose]();
      this.#waiting.delete(waiting);
    }
  }

  /** All that is published in one turn is asked for at once. False: the connection broke before it was there. */
  #flush(connection: NatsConnection): Promise<boolean> {
    if (this.#flushing?.of === connection) return this.#flushing.done;
    const done = Promise.resolve().then(async () => {
      this.#flushing = null;
      return connection.flush().then(
        () => true,
        () => false,
      );
    });
    this.#flushing = { of: connection, done };
    return done;
  }
}
