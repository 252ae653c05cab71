/**
 * Publishes frames on the current connection, until they are acked or the timeout expires.
 *
 * A frame is in one of three states: waiting for a connection (`Parked`), sent and waiting for its ack (`Waiting`), or
 * done. A broken connection moves it back to the first, and its turn is kept. Retries use the same dedup id, so that
 * JetStream stores a frame once. The number and bytes of unfinished frames are bounded. Used by `Room` and `Requests`.
 */
import { UnibusError } from "../../wire/errors.ts";
import { streamName } from "../../wire/names.ts";
import { dedupWindowMs } from "../../wire/room-stream.ts";
import type { Connection } from "../transport/connection.ts";
import type { ConnectionManager } from "../transport/connection-manager.ts";
import type { Inboxes } from "../transport/inboxes.ts";
import { pause, waitFor } from "../transport/wait.ts";

/** Ack timeout of one attempt, in milliseconds. Source: spec 8. */
const ackTimeoutMs = 5_000;
/** Default timeout of a send, in milliseconds. */
const sendTimeoutMs = 30_000;
/** How often to check for a restored connection, in milliseconds. */
const retryPauseMs = 50;

/** A message to publish. */
export interface Outgoing {
  readonly roomId: string;
  readonly subject: string;
  /** `<from>.<id>`, by which JetStream deduplicates; null if the room has no history. Source: spec 8. */
  readonly dedupId: string | null;
  readonly bytes: Uint8Array;
  /** The reply subject. */
  readonly reply?: string;
}

/** The timeout of a send, and what happens without a connection. */
export interface SendOptions {
  /** Total timeout in milliseconds. Default: 30 s. */
  readonly timeoutMs?: number;
  /** `wait`: send when the connection is restored. `refuse`: fail at once. Default: wait. */
  readonly offline?: "wait" | "refuse";
  readonly signal?: AbortSignal | undefined;
}

/** Limits of messages that wait to be sent. */
export interface SendLimits {
  readonly messagesMax: number;
  readonly bytesMax: number;
}

/** JetStream's reply to a publish. */
interface Ack {
  readonly stream?: string;
  readonly seq?: number;
  readonly duplicate?: boolean;
  readonly error?: { readonly err_code?: number };
}

/** Why an attempt has no ack: timeout, broken connection, or publish denied by the server. */
type Unacked = "late" | "broken" | "refused";

/** JetStream's error code for a full stream that rejects messages. */
const fullCode = 10077;

/** Parses a JetStream ack; null if the data is not one. */
function ackOf(data: Uint8Array): Ack | null {
  try {
    const ack = JSON.parse(new TextDecoder().decode(data)) as Ack | null;
    return typeof ack === "object" && ack !== null && ("stream" in ack || "error" in ack) ? ack : null;
  } catch {
    return null;
  }
}

/** The error in a negative ack, or null. */
function refusalOf(ack: Ack | null): UnibusError | null {
  if (ack?.error === undefined) return null;
  if (ack.error.err_code === fullCode) return new UnibusError("quota", "the room is full (ask an owner or an admin)");
  return new UnibusError("unavailable", "the server cannot store messages of this room now (try again)");
}

/**
 * Recognizes a reply of the server: a JetStream ack or an empty message, with its error if it has one. Null for a reply
 * of a peer.
 */
export function answerOfServer(data: Uint8Array): { readonly refusal: UnibusError | null } | null {
  const ack = ackOf(data);
  return ack === null && data.length > 0 ? null : { refusal: refusalOf(ack) };
}

/** The sequence number in an ack. Errors: quota, unavailable; forbidden if the ack is not for this room's stream. */
function sequenceOf(ack: Ack, roomId: string, attempt: number): number {
  if (ack.stream !== streamName(roomId) || !Number.isSafeInteger(ack.seq)) {
    throw new UnibusError("forbidden", "the server acknowledged the message for another room (do not trust it)");
  }
  if (ack.duplicate === true && attempt === 1) {
    throw new UnibusError("forbidden", "the server rejected a new message as a duplicate (do not trust it)");
  }
  return ack.seq ?? 0;
}

/** An attempt that waits for its ack, or for the server to process the publish. */
interface Waiting {
  readonly subject: string;
  readonly settle: (end: Ack | Unacked) => void;
}

/** A message that waits for a connection. */
interface Parked {
  /** Its position in the order of all sends. */
  readonly place: number;
  readonly endMs: number;
  readonly goOn: () => void;
}

/** One attempt: its connection, its number (from 1), and its deadline by `performance.now()`. */
interface Attempt {
  readonly line: Connection;
  readonly count: number;
  readonly endMs: number;
}

const lateError = () =>
  new UnibusError(
    "timeout",
    "the message was not acknowledged in time (it may have arrived: look before you send it again)",
  );

/** Milliseconds until a moment of `performance.now()`. */
const leftMs = (endMs: number): number => Math.max(0, endMs - performance.now());

/**
 * Publishes frames on the current connection. Waiting frames are bounded; more are rejected. After an outage, all
 * unacked frames are sent again in their original order. A frame that must be stored is retried with the same id until
 * the stream acks it.
 */
export class Publisher {
  readonly #waiting = new Set<Waiting>();
  #parked: Parked[] = [];
  #places = 0;
  #messages = 0;
  #bytes = 0;
  #flushing: { readonly of: Connection; readonly done: Promise<boolean> } | null = null;

  constructor(
    private readonly live: ConnectionManager,
    private readonly replies: Inboxes,
    private readonly limits: SendLimits,
  ) {}

  /** The server denied a publish to a subject. Fails the attempts that wait for an ack there. */
  refused(subject: string): void {
    for (const one of this.#waiting) if (one.subject === subject) one.settle("refused");
  }

  /** The connection broke. Unacked frames will be sent again. */
  broken(): void {
    for (const one of this.#waiting) one.settle("broken");
  }

  /**
   * Publishes a frame, waits until it is stored, and returns its sequence number. Errors: those of `send`; quota if the
   * room is full; forbidden.
   */
  store(outgoing: Outgoing, options: SendOptions = {}): Promise<number> {
    let firstMs = 0;
    return this.#try(outgoing, options, async (attempt) => {
      firstMs ||= performance.now();
      // By then JetStream has forgotten the dedup id, and would store a second copy.
      if (performance.now() - firstMs > dedupWindowMs - ackTimeoutMs) throw lateError();
      const end = await this.#storeOnce(outgoing, attempt, options.signal);
      return typeof end === "string" ? end : sequenceOf(end, outgoing.roomId, attempt.count);
    });
  }

  /**
   * Publishes a frame and waits until the server has processed it.
   * Errors: quota if too many messages wait already; timeout; unavailable without a connection if `offline` is
   * `refuse`; forbidden; the signal's reason.
   */
  async send(outgoing: Outgoing, options: SendOptions = {}): Promise<void> {
    await this.#try(outgoing, options, (attempt) => this.#sendOnce(outgoing, attempt, options.signal));
  }

  /**
   * Attempts until one succeeds. The permission may be newer than the connection, so a denied publish reconnects once.
   */
  async #try<T>(
    { bytes, subject }: Outgoing,
    options: SendOptions,
    once: (attempt: Attempt) => Promise<T | Unacked>,
  ): Promise<T> {
    if (this.#messages >= this.limits.messagesMax || this.#bytes + bytes.length > this.limits.bytesMax) {
      throw new UnibusError("quota", "too many messages are waiting to be sent (wait for earlier sends to finish)");
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
            throw new UnibusError("forbidden", `not allowed to send to ${subject} (check that you are still a member)`);
          isRefused = true;
          await waitFor(this.live.refresh(), options.signal);
        } else if (end !== "late" && end !== "broken") return end;
      }
    } finally {
      this.#messages -= 1;
      this.#bytes -= bytes.length;
    }
  }

  /**
   * The connection. If there is none, waits for the next one and for this message's turn, unless `offline` is `refuse`.
   */
  async #line(place: number, endMs: number, { offline, signal }: SendOptions): Promise<Connection> {
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

  /** Resumes parked messages in order when there is a connection, and each one whose timeout expires. */
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
    // Its ack arrives on this connection only, even while another one replaces it.
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

  /**
   * One flush for all publishes of the same turn. False if the connection broke before the server had processed them.
   */
  #flush(line: Connection): Promise<boolean> {
    if (this.#flushing?.of === line) return this.#flushing.done;
    const done = Promise.resolve().then(async () => {
      this.#flushing = null;
      const isTaken = await line.flush().then(
        () => true,
        () => false,
      );
      // By now the server has reported denied publishes; they are handled in this turn.
      await pause(0, undefined);
      return isTaken;
    });
    this.#flushing = { of: line, done };
    return done;
  }
}
