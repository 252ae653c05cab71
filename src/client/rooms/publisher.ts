/**
 * The send pipeline: publishes sealed frames on the current connection, until they are acked or the timeout expires.
 *
 * A frame waits for a connection, or for its ack, or for new permissions, and then is done. When a connection ends, its
 * unacked frames are sent again on the next one, in the order of all sends and with the same dedup id, so that
 * JetStream stores a frame once. A frame costs one promise and one ack subject: all frames share one timer, a
 * connection reports its end once for all, and nothing polls. The number and bytes of unfinished frames are bounded.
 * Used by `Room` and `Requests`.
 */
import { TurnBatch } from "../../lib/turn-batch.ts";
import { UnibusError } from "../../wire/errors.ts";
import { dedupWindowMs } from "../../wire/room-stream.ts";
import type { Connection } from "../transport/connection.ts";
import type { ConnectionManager } from "../transport/connection-manager.ts";
import { pause } from "../transport/wait.ts";
import { ackOf, refusalOf, sequenceOf } from "./stream-ack.ts";

/** Ack timeout of one attempt, in milliseconds. Source: docs/protocol/durables.md. */
const ackTimeoutMs = 5_000;
/** Default timeout of a send, in milliseconds. */
const sendTimeoutMs = 30_000;

/** A message to publish. */
export interface Outgoing {
  readonly roomId: string;
  readonly subject: string;
  /**
   * `<from>.<id>`, by which JetStream deduplicates; null if the room has no history. Source: docs/protocol/history.md.
   */
  readonly dedupId: string | null;
  readonly bytes: Uint8Array;
  /** The reply subject. */
  readonly reply?: string;
  /** Called once it is stored, or processed in a room without history, or finally was not. */
  readonly onEnd?: ((isStored: boolean) => void) | undefined;
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

/** The frames sent on one connection that are not done. */
interface Lane {
  readonly line: Connection;
  readonly sent: Set<Sending>;
  /** Frames that the next flush confirms: those published in this turn. */
  unflushed: Sending[] | null;
  /** What is written next. One write for many frames costs a quarter less of the processor's time for each. */
  readonly batch: TurnBatch<{ readonly sending: Sending; readonly ack: string }>;
}

/** A frame that is not done. */
interface Sending {
  readonly outgoing: Outgoing;
  readonly options: SendOptions;
  /** Whether the stream acks it. Otherwise it is done when the server has processed it. */
  readonly isStored: boolean;
  /** Its position in the order of all sends. */
  readonly place: number;
  /** When its timeout expires, and when its current attempt does; by `performance.now()`. */
  readonly endMs: number;
  dueMs: number;
  /** When it was first published; zero before. */
  firstMs: number;
  attempts: number;
  /** Whether the server denied it before. */
  isRefused: boolean;
  /** Its connection and its ack subject, while it is published and not acked. */
  lane: Lane | null;
  ack: string;
  readonly resolve: (seq: number) => void;
  readonly reject: (error: unknown) => void;
  readonly onAbort: () => void;
}

const deniedError = (subject: string) =>
  new UnibusError("forbidden", `not allowed to send to ${subject} (check that you are still a member)`);

const lateError = () =>
  new UnibusError(
    "timeout",
    "the message was not acknowledged in time (it may have arrived: look before you send it again)",
  );

/** How many frames are written at once at most. The server works on them while the next ones are sealed. */
const batchMax = 16;

/** Orders frames by their turn. */
const byPlace = (one: Sending, other: Sending): number => one.place - other.place;

/**
 * Publishes frames on the current connection. Unfinished frames are bounded; more are rejected. After an outage, all
 * unacked frames are sent again in their original order. A frame that must be stored is retried with the same id until
 * the stream acks it.
 */
export class Publisher {
  /** All unfinished frames, in the order in which they were passed in. */
  readonly #all = new Set<Sending>();
  readonly #byAck = new Map<string, Sending>();
  /** Frames that wait for a connection. */
  readonly #parked = new Set<Sending>();
  #lane: Lane | null = null;
  /** How many times new permissions are being fetched. */
  #refreshes = 0;
  #places = 0;
  #bytes = 0;
  /** The one timer, and the deadline that it is set for. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerMs = Number.POSITIVE_INFINITY;

  constructor(
    private readonly live: ConnectionManager,
    private readonly limits: SendLimits,
  ) {}

  /** The server denied a publish to a subject. Its unacked frames are sent once more, with new permissions. */
  refused(subject: string): void {
    const again: Sending[] = [];
    for (const sending of this.#all) {
      if (sending.lane === null || sending.outgoing.subject !== subject) continue;
      this.#release(sending);
      if (sending.isRefused) this.#fail(sending, deniedError(subject));
      else again.push(sending);
      sending.isRefused = true;
    }
    if (again.length === 0) return;
    // Later messages wait for them.
    for (const sending of again) this.#parked.add(sending);
    this.#refreshes += 1;
    const end = () => {
      this.#refreshes -= 1;
      this.resume();
    };
    this.live.refresh().then(end, (error: unknown) => {
      for (const sending of again) this.#fail(sending, error);
      end();
    });
  }

  /** Another connection is ready, or there will be no other one. Frames that wait for one are sent, or fail. */
  resume(): void {
    const parked = [...this.#parked];
    this.#parked.clear();
    this.#attemptAll(parked);
  }

  /**
   * Publishes a frame, waits until it is stored, and returns its sequence number. Errors: those of `send`; quota if the
   * room is full; forbidden.
   */
  store(outgoing: Outgoing, options: SendOptions = {}): Promise<number> {
    return this.#start(outgoing, options, true);
  }

  /**
   * Publishes a frame and waits until the server has processed it.
   * Errors: quota if too many messages wait already; timeout; unavailable without a connection if `offline` is
   * `refuse`; forbidden; the signal's reason.
   */
  async send(outgoing: Outgoing, options: SendOptions = {}): Promise<void> {
    await this.#start(outgoing, options, false);
  }

  #start(outgoing: Outgoing, options: SendOptions, isStored: boolean): Promise<number> {
    return new Promise((resolve, reject) => {
      const { signal, timeoutMs = sendTimeoutMs } = options;
      const size = outgoing.bytes.length;
      if (this.#all.size >= this.limits.messagesMax || this.#bytes + size > this.limits.bytesMax) {
        outgoing.onEnd?.(false);
        throw new UnibusError("quota", "too many messages are waiting to be sent (wait for earlier sends to finish)");
      }
      if (signal?.aborted) outgoing.onEnd?.(false);
      signal?.throwIfAborted();
      const endMs = performance.now() + timeoutMs;
      const sending: Sending = {
        ...{ outgoing, options, isStored, place: this.#places++, endMs, dueMs: endMs, firstMs: 0, attempts: 0 },
        ...{ isRefused: false, lane: null, ack: "", resolve, reject },
        onAbort: () => this.#fail(sending, signal?.reason),
      };
      signal?.addEventListener("abort", sending.onAbort, { once: true });
      this.#all.add(sending);
      this.#bytes += size;
      this.#attempt(sending);
    });
  }

  #attemptAll(list: Sending[]): void {
    for (const sending of list.sort(byPlace)) this.#attempt(sending);
  }

  /**
   * Publishes a frame if there is a connection. Otherwise it waits for the next one and for its turn, unless `offline`
   * is `refuse`.
   */
  #attempt(sending: Sending): void {
    if (!this.#all.has(sending)) return;
    const nowMs = performance.now();
    const { live } = this;
    try {
      if (nowMs >= sending.endMs) throw lateError();
      // While another connection replaces one, frames wait for those on the old one: no frame is stored before them.
      const isDrained =
        this.#lane === null || this.#lane.sent.size === 0 || !live.isUp || this.#lane.line === live.line;
      const isReady = live.isUp && isDrained && this.#refreshes === 0 && this.#parked.size === 0;
      if (sending.options.offline !== "refuse" && !live.isClosed && !isReady) this.#parked.add(sending);
      else this.#publish(live.line, sending, nowMs);
    } catch (error) {
      this.#fail(sending, error);
      return;
    }
    this.#wakeAt(sending.dueMs);
  }

  #publish(line: Connection, sending: Sending, nowMs: number): void {
    const { subject, bytes, reply } = sending.outgoing;
    sending.attempts += 1;
    sending.firstMs ||= nowMs;
    const lane = this.#laneOf(line);
    sending.lane = lane;
    lane.sent.add(sending);
    if (!sending.isStored) {
      lane.batch.flush();
      line.publish(subject, bytes, { reply });
      this.#flush(lane, sending);
      return;
    }
    // By then JetStream has forgotten the dedup id, and would store a second copy.
    if (nowMs - sending.firstMs > dedupWindowMs - ackTimeoutMs) throw lateError();
    sending.dueMs = Math.min(sending.endMs, nowMs + ackTimeoutMs);
    sending.ack = line.ackSubject();
    this.#byAck.set(sending.ack, sending);
    lane.batch.add({ sending, ack: sending.ack });
    // Nothing else is on its way: nothing to wait for.
    if (lane.sent.size === 1) lane.batch.flush();
  }

  /** Writes a frame, unless its attempt has ended. */
  #write(line: Connection, sending: Sending, ack: string): void {
    const { subject, bytes, dedupId } = sending.outgoing;
    try {
      if (sending.ack === ack) line.publish(subject, bytes, { dedupId, reply: ack });
    } catch (error) {
      this.#fail(sending, error);
    }
  }

  #laneOf(line: Connection): Lane {
    if (this.#lane?.line === line) return this.#lane;
    const batch: Lane["batch"] = new TurnBatch(batchMax, (frames) => {
      for (const { sending, ack } of frames) this.#write(line, sending, ack);
    });
    const lane: Lane = { line, sent: new Set(), unflushed: null, batch };
    this.#lane = lane;
    line.onAck = (subject, data) => this.#acked(subject, data);
    // Acks arrive on their frame's connection only, even while another one replaces it.
    line.onEnd(() => this.#again([...lane.sent]));
    return lane;
  }

  /** Sends frames again whose attempt failed. */
  #again(list: Sending[]): void {
    for (const sending of list) this.#release(sending);
    this.#attemptAll(list);
  }

  #acked(subject: string, data: Uint8Array): void {
    const sending = this.#byAck.get(subject);
    const ack = sending === undefined ? null : ackOf(data);
    if (sending === undefined || ack === null) return;
    try {
      const refusal = refusalOf(ack);
      if (refusal !== null) throw refusal;
      this.#finish(sending, sequenceOf(ack, sending.outgoing.roomId, sending.attempts));
    } catch (error) {
      this.#fail(sending, error);
    }
  }

  /** One flush for all frames published in the same turn. */
  #flush(lane: Lane, sending: Sending): void {
    if (lane.unflushed === null) {
      lane.unflushed = [];
      queueMicrotask(() => void this.#flushAll(lane));
    }
    lane.unflushed.push(sending);
  }

  async #flushAll(lane: Lane): Promise<void> {
    const sent = (lane.unflushed ?? []).map((sending) => ({ sending, attempt: sending.attempts }));
    lane.unflushed = null;
    const isTaken = await lane.line.flush().then(
      () => true,
      () => false,
    );
    // By now the server has reported denied publishes; they are handled in this turn.
    await pause(0, undefined);
    const open = sent.filter(({ sending: { lane: at, attempts }, attempt }) => at === lane && attempts === attempt);
    if (isTaken) for (const { sending } of open) this.#finish(sending, 0);
    else this.#again(open.map(({ sending }) => sending));
  }

  /** Ends the current attempt of a frame. */
  #release(sending: Sending): void {
    const { lane } = sending;
    lane?.sent.delete(sending);
    if (lane !== null && lane.sent.size === 0 && this.#parked.size > 0) queueMicrotask(() => this.resume());
    sending.lane = null;
    sending.dueMs = sending.endMs;
    if (sending.ack === "") return;
    this.#byAck.delete(sending.ack);
    sending.ack = "";
  }

  #finish(sending: Sending, seq: number): void {
    if (!this.#end(sending)) return;
    sending.outgoing.onEnd?.(true);
    sending.resolve(seq);
  }

  #fail(sending: Sending, error: unknown): void {
    if (!this.#end(sending)) return;
    sending.outgoing.onEnd?.(false);
    sending.reject(error);
  }

  /** Whether a frame was unfinished. It is finished now. */
  #end(sending: Sending): boolean {
    if (!this.#all.delete(sending)) return false;
    this.#parked.delete(sending);
    this.#release(sending);
    this.#bytes -= sending.outgoing.bytes.length;
    sending.options.signal?.removeEventListener("abort", sending.onAbort);
    return true;
  }

  /** Sets the timer, unless it is set for an earlier deadline. It is not cleared when a frame is done. */
  #wakeAt(dueMs: number): void {
    if (dueMs >= this.#timerMs) return;
    clearTimeout(this.#timer);
    this.#timerMs = dueMs;
    this.#timer = setTimeout(() => this.#expire(), Math.max(0, dueMs - performance.now()));
    // A connection, or the attempts to make one, keep the process alive.
    (this.#timer as { unref?: () => void }).unref?.();
  }

  /** Ends the attempts and the frames whose deadline has passed, and sets the timer for the next deadline. */
  #expire(): void {
    this.#timerMs = Number.POSITIVE_INFINITY;
    const nowMs = performance.now();
    this.#again([...this.#all].filter(({ dueMs }) => dueMs <= nowMs));
    this.#wakeAt(Math.min(...[...this.#all].map(({ dueMs }) => dueMs)));
  }
}
