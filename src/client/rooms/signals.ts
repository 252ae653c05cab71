/**
 * The signals of a client: the rooms whose signals it receives, one timer for all of them, and the user's switch.
 * `RoomSignals` has what belongs to one room. Source: docs/protocol/signals.md.
 */
import { Alarm } from "../../lib/alarm.ts";
import { signalRoot } from "../../wire/names.ts";
import { parseSignal } from "../../wire/signal.ts";
import type { BusClock } from "../transport/clock.ts";
import type { Connection } from "../transport/connection.ts";
import type { RoomSignals } from "./room-signals.ts";

/** The dependencies of `Signals`. */
export interface SignalsDeps {
  /** This peer's endpoint. */
  readonly me: string;
  readonly clock: Pick<BusClock, "now" | "steadyMs">;
  /** Whether signals are on at first. Default: true. */
  readonly isOn?: boolean | undefined;
  /** Whether read marks are sent; undefined for rooms of two only. */
  readonly readMarks: boolean | undefined;
  /** The current connection, or null. */
  readonly line: () => Pick<Connection, "publish"> | null;
  /** Subscribes to `subjects`, which have changed. `connects`: also if there is no connection yet. */
  readonly follow: (connects: boolean) => Promise<void>;
  readonly onTrouble: (error: unknown) => void;
}

/** The user's switch for signals. */
export interface SignalSwitch {
  /** Whether typing, presence and read marks are sent and received, in all rooms. */
  isOn: boolean;
}

/** Sends and receives the signals of all rooms. */
export class Signals implements SignalSwitch {
  readonly #followed = new Map<string, RoomSignals>();
  /** The rooms in which something is due at some time. */
  readonly #awake = new Set<RoomSignals>();
  readonly #alarm: Alarm;
  #isOn: boolean;
  #line: object | null = null;
  /** Counts what was sent on the current connection. */
  #counter = 0;
  #following: Promise<void> = Promise.resolve();

  constructor(private readonly deps: SignalsDeps) {
    this.#isOn = deps.isOn ?? true;
    this.#alarm = new Alarm(
      () => this.#tick(),
      () => this.nowMs,
    );
  }

  /** This peer's endpoint. */
  get me(): string {
    return this.deps.me;
  }

  /** Whether signals are sent and received. A person decides it for all rooms. */
  get isOn(): boolean {
    return this.#isOn;
  }

  set isOn(isOn: boolean) {
    if (isOn === this.#isOn) return;
    // The last signal says that this peer is gone, so it is sent before.
    if (!isOn) for (const room of this.#followed.values()) room.turnOff();
    this.#isOn = isOn;
    if (isOn) for (const room of this.#followed.values()) room.resume();
    this.#refollow();
  }

  /** Whether read marks are sent; undefined for rooms of two only. */
  get readMarks(): boolean | undefined {
    return this.deps.readMarks;
  }

  /** The server's time, in milliseconds since 1970. */
  get busMs(): number {
    return this.deps.clock.now();
  }

  /** The monotonic clock, in milliseconds. */
  get nowMs(): number {
    return this.deps.clock.steadyMs();
  }

  /** The subjects to subscribe to now. */
  get subjects(): string[] {
    return [...this.#followed.values()].flatMap(({ subject }) => (subject === null ? [] : [subject]));
  }

  /** Receives a room's signals from now on, or no more. */
  follow(room: RoomSignals, follows: boolean): void {
    if (this.#followed.has(room.roomId) === follows) return;
    if (follows) this.#followed.set(room.roomId, room);
    else this.#followed.delete(room.roomId);
    this.#refollow();
  }

  /** Resolves when the rooms that are followed now are received, or cannot be. */
  get following(): Promise<void> {
    return this.#following;
  }

  /** Whether a signal can be sent now. */
  get isConnected(): boolean {
    return this.deps.line() !== null;
  }

  /** Makes sure that a room's `tick` is called at a time, by the monotonic clock. */
  wake(room: RoomSignals, atMs: number): void {
    this.#awake.add(room);
    this.#alarm.by(atMs);
  }

  /** Publishes what `seal` returns, or drops it without a connection: an old signal is worth nothing. */
  publish(subject: string, seal: (counter: number) => Uint8Array): void {
    const line = this.deps.line();
    if (line === null) return;
    if (line !== this.#line) this.#counter = 0;
    this.#line = line;
    line.publish(subject, seal(this.#counter++));
  }

  /** Handles a message on one of the subjects. */
  take({ subject, data }: { readonly subject: string; readonly data: Uint8Array }): void {
    if (!this.#isOn) return;
    const sealed = parseSignal(subject, data);
    const room = sealed === null ? undefined : this.#followed.get(sealed.roomId);
    if (sealed !== null) void room?.take(sealed);
  }

  /** The server denied an operation on a subject: the room has no signals for this login. */
  refused(subject: string): void {
    const [root, roomId = ""] = subject.split(".");
    if (root === signalRoot) this.#followed.get(roomId)?.permitted(false);
  }

  /** The next login may be permitted what this one is not. */
  beforeLogin(): void {
    for (const room of this.#followed.values()) room.permitted(true);
  }

  /** The connection is restored. */
  resume(): void {
    for (const room of this.#followed.values()) room.resume();
  }

  /** Ends everything, and lets others know. */
  close(): void {
    this.isOn = false;
    this.#alarm.stop();
  }

  #refollow(): void {
    this.#following = this.deps.follow(this.subjects.length > 0).catch(this.deps.onTrouble);
  }

  #tick(): number {
    const { nowMs } = this;
    let nextMs = Number.POSITIVE_INFINITY;
    for (const room of this.#awake) {
      const dueMs = this.#dueIn(room, nowMs);
      if (dueMs === Number.POSITIVE_INFINITY) this.#awake.delete(room);
      nextMs = Math.min(nextMs, dueMs);
    }
    return nextMs;
  }

  #dueIn(room: RoomSignals, nowMs: number): number {
    try {
      return room.tick(nowMs);
    } catch (error) {
      // The room was found to be forked: there is nothing to do in it any more.
      this.deps.onTrouble(error);
      return Number.POSITIVE_INFINITY;
    }
  }
}
