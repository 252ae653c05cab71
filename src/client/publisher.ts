import { UnibusError } from "../wire/errors.ts";
import { streamName } from "../wire/names.ts";
import { dedupWindowMs } from "../wire/room-stream.ts";
import type { Line } from "./line.ts";
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

/** The error in JetStream's answer, or in the server's empty one; null for what is a peer's. */
export function answerOfServer(data: Uint8Array): { readonly refusal: UnibusError | null } | null {
  const ack = ackOf(data);
  return ack === null && data.length > 0 ? null : { refusal: refusalOf(ack) };
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

/** One attempt that waits for its ack, or for the server to have taken it in. */
interface Waiting {
  readonly subject: string;
  readonly settle: (end: Ack | Unacked) => void;
}

/** A message that waits for a connection. */
interface Parked {
  /** Its place among all that were sent. */
  readonly place: number;
  readonly endMs: number;
  readonly goOn: () => void;
}

/** One attempt: over which line, the how manieth it is, and when it must be over, in milliseconds. */
interface Attempt {
  readonly line: Line;
  readonly count: number;
  readonly endMs: number;
}

const lateError = () =>
  new UnibusError(
    "timeout",
    "the message could not be sent in time (it may have arrived: look before it is sent anew)",
  );

/** What is left until a moment of `performance.now()`, in milliseconds. */
const leftMs = (endMs: number): number => Math.max(0, endMs - performance.now());

/**
 * Publishes frames over whatever connection there is. What waits is bounded: more is refused. After a break all that
 * has no ack is sent again, in the order in which it was sent at first.
 * A message that was stored is tried with the same id until the stream's own word for it is here.
 */
export class Publisher {
  readonly #waiting = new Set<Waiting>();
  #parked: Parked[] = [];
  #places = 0;
  #messages = 0;
  #bytes = 0;
  #flushing: { readonly of: Line; readonly done: Promise<boolean> } | null = null;

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
    let firstMs = 0;
    return this.#try(outgoing, options, async (attempt) => {
      firstMs ||= performance.now();
      // JetStream has forgotten the first copy by then, and would store another.
      if (performance.now() - firstMs > dedupWindowMs - ackTimeoutMs) throw lateError();
      const end = await this.#storeOnce(outgoing, attempt, options.signal);
      return typeof end === "string" ? end : sequenceOf(end, outgoing.roomId, attempt.count);
    });
  }

  /**
   * Hands a frame to the server.
   * Errors: quota when too much waits already; timeout; unavailable without a connection where that is asked for;
   * forbidden; the signal's reason.
   */
  async send(outgoing: Outgoing, options: SendOptions = {}): Promise<void> {
    await this.#try(outgoing, options, (attempt) => this.#sendOnce(outgoing, attempt, options.signal));
  }

  /** Attempts until one gives something. Permissions may be newer than the line: one that is refused gets a new one. */
  async #try<T>(
    { bytes, subject }: Outgoing,
    options: SendOptions,
    once: (attempt: Attempt) => Promise<T | Unacked>,
  ): Promise<T> {
    if (this.#messages >= this.limits.messagesMax || this.#bytes + bytes.length > this.limits.bytesMax) {
      throw new UnibusError("quota", "too many messages wait to be sent (wait for those before)");
    }
    this.#messages += 1;
    this.#bytes += bytes.length;
    const place = this.#places++;
    const endMs = performance.now() + (options.timeoutMs ?? sendTimeoutMs);
    let isRefused = false;
    try {
      for (let count = 1; ; count++) {
        const end = await once({ line: await this.#line(place, endMs, options), count, endMs });
        if (end === "refused") {
          if (isRefused)
            throw new UnibusError("forbidden", `the bus refuses messages to ${subject} (are you a member?)`);
          isRefused = true;
          await waitFor(this.live.refresh(), options.signal);
        } else if (end !== "late" && end !== "broken") return end;
      }
    } finally {
      this.#messages -= 1;
      this.#bytes -= bytes.length;
    }
  }

  /** The connection, or, where that is asked for, the next one, when it is this message's turn. */
  async #line(place: number, endMs: number, { offline, signal }: SendOptions): Promise<Line> {
    for (;;) {
      signal?.throwIfAborted();
      if (performance.now() >= endMs) throw lateError();
      if (offline === "refuse" || this.live.isClosed) return this.live.line;
      if (this.live.isUp && this.#parked.length === 0) return this.live.line;
      await waitFor(this.#park(place, endMs), signal);
    }
  }

  #park(place: number, endMs: number): Promise<void> {
    return new Promise((goOn) => {
      this.#parked.push({ place, endMs, goOn });
      if (this.#parked.length === 1) void this.#callParked();
    });
  }

  /** Lets those who wait go on when there is a connection, the first one first; and each whose time is over. */
  async #callParked(): Promise<void> {
    while (this.#parked.length > 0) {
      await pause(retryPauseMs, undefined);
      const [nowMs, isOver] = [performance.now(), this.live.isUp || this.live.isClosed];
      const isCalled = ({ endMs }: Parked) => isOver || nowMs >= endMs;
      const called = this.#parked.filter(isCalled);
      this.#parked = this.#parked.filter((parked) => !isCalled(parked));
      for (const { goOn } of called.sort((a, b) => a.place - b.place)) goOn();
    }
  }

  async #storeOnce(
    { subject, bytes, dedupId }: Outgoing,
    { line, endMs }: Attempt,
    signal: AbortSignal | undefined,
  ): Promise<Ack | Unacked> {
    const { ended, waiting } = this.#wait(subject);
    const inbox = this.replies.openAck(line.acks, ({ data }) => {
      const ack = ackOf(data);
      if (ack !== null) waiting.settle(ack);
    });
    const timer = setTimeout(() => waiting.settle("late"), Math.min(ackTimeoutMs, leftMs(endMs)));
    // Its ack comes over this connection alone, also while another one replaces it.
    const forget = line.onEnd(() => waiting.settle("broken"));
    try {
      line.publish(subject, bytes, { dedupId, reply: inbox.subject });
      const end = await waitFor(ended, signal);
      const refusal = typeof end === "string" ? null : refusalOf(end);
      if (refusal !== null) throw refusal;
      return end;
    } finally {
      clearTimeout(timer);
      forget();
      inbox[Symbol.dispose]();
      this.#waiting.delete(waiting);
    }
  }

  async #sendOnce(
    { subject, bytes, reply }: Outgoing,
    { line, endMs }: Attempt,
    signal: AbortSignal | undefined,
  ): Promise<true | Unacked> {
    const { ended, waiting } = this.#wait(subject);
    const timer = setTimeout(() => waiting.settle("late"), leftMs(endMs));
    try {
      line.publish(subject, bytes, { reply });
      const taken = this.#flush(line).then((isTaken): true | Unacked => isTaken || "broken");
      const end = await waitFor(Promise.race([taken, ended]), signal);
      return typeof end === "object" ? true : end;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(waiting);
    }
  }

  #wait(subject: string): { readonly ended: Promise<Ack | Unacked>; readonly waiting: Waiting } {
    let settle: Waiting["settle"] = () => undefined;
    const ended = new Promise<Ack | Unacked>((resolve) => {
      settle = resolve;
    });
    const waiting = { subject, settle };
    this.#waiting.add(waiting);
    return { ended, waiting };
  }

  /** All that is published in one turn is asked for at once. False: the connection broke before it was there. */
  #flush(line: Line): Promise<boolean> {
    if (this.#flushing?.of === line) return this.#flushing.done;
    const done = Promise.resolve().then(async () => {
      this.#flushing = null;
      const isTaken = await line.flush().then(
        () => true,
        () => false,
      );
      // What the server refused it has said by now: that is told in this turn.
      await pause(0, undefined);
      return isTaken;
    });
    this.#flushing = { of: line, done };
    return done;
  }
}
