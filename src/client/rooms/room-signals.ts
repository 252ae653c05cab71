/**
 * The signals of one room: sends this peer's, and keeps what those of the others say. Neither the bus nor this client
 * stores any of it. Signals are received only while the application shows interest: it has the room open, or listens.
 *
 * A signal passes the gate (membership, rate) before any cryptography, is opened with the key of its epoch, and counts
 * only if its time is right and it is not a repeat. `Signals` owns the one timer, the connection and the user's switch;
 * `Presence` is the part that applications see. Source: docs/protocol/signals.md.
 */
import { LruCache } from "../../lib/lru-cache.ts";
import { RateWindow } from "../../lib/rate-window.ts";
import { hasCode } from "../../wire/errors.ts";
import { isUlid, signalSubject } from "../../wire/names.ts";
import { openSignal, type SealedSignal, type SignalKind, sealSignal, signalKey } from "../../wire/signal.ts";
import { decrypt, encrypt, nonceBytes } from "../crypto/sealing.ts";
import { Events, type Unlisten } from "../events.ts";
import type { RoomKeys } from "../trust/room-keys.ts";
import type { RoomTrust } from "../trust/room-trust.ts";
import { memberAt, memberNow } from "../trust/verified-room.ts";
import type { Message } from "./message.ts";
import type { PresenceEvents } from "./presence.ts";
import { type MemberPresence, PresenceState, signalHoldsMs } from "./presence-state.ts";
import { SignalGate } from "./signal-gate.ts";
import type { Signals } from "./signals.ts";

/** How often a signal is sent again, in milliseconds; presence with a variation. Source: docs/protocol/signals.md. */
const sendAgainMs = { typing: 5_000, present: 60_000, presentVariation: 0.2, read: 1_000 } as const;
/** Presence for a member who has just come: within a random time, and how often at most, in milliseconds. */
const greeting = { withinMs: 2_000, everyMs: 10_000 } as const;
/** The most signals that this peer sends in a second. Receivers open 20. */
const sentPerSecond = 10;
/** When presence is sent that was over this limit, in milliseconds. */
const overLimitMs = 1_000;
/** How long signals of an older epoch are opened after a newer one was learned, in milliseconds. */
const oldEpochMs = 60_000;
/** How many epochs' keys are remembered. */
const keysMax = 4;

/** The dependencies of `RoomSignals`. */
export interface RoomSignalsDeps {
  readonly trust: Pick<RoomTrust, "room" | "roomId" | "newerSinceMs" | "onVersion">;
  readonly keys: Pick<RoomKeys, "key">;
  readonly signals: Signals;
  /** Whether this peer may send to the room now: no decision of a person is pending. */
  readonly maySend: () => boolean;
  readonly onTrouble: (error: unknown) => void;
}

/** Sends and receives the signals of one room. */
export class RoomSignals {
  readonly #state = new PresenceState();
  readonly #gate = new SignalGate();
  readonly #events: Events<PresenceEvents>;
  readonly #keys = new LruCache<Promise<Uint8Array | null>, number>(keysMax);
  readonly #sending = new RateWindow(sentPerSecond, 1_000);
  /** How often the application opened the room, without closing it. */
  #opened = 0;
  #isIdle = false;
  /** Whether this peer was announced to the others. */
  #hasEntered = false;
  #nextPresentMs = Number.POSITIVE_INFINITY;
  /** When `bye` is sent, if it was over the limit. */
  #byeMs = Number.POSITIVE_INFINITY;
  #greetedMs = Number.NEGATIVE_INFINITY;
  /** When `typing` was last sent; null after `stopped`. */
  #typingSentMs: number | null = null;
  #readUpTo = "";
  #readSentMs = Number.NEGATIVE_INFINITY;
  #isReadDue = false;
  #listeners = 0;
  /** Whether the server refused this room's signals to the current login. */
  #isRefused = false;

  constructor(private readonly deps: RoomSignalsDeps) {
    this.#events = new Events<PresenceEvents>(deps.onTrouble);
    deps.trust.onVersion(() => this.#forgetOthers());
  }

  get roomId(): string {
    return this.deps.trust.roomId;
  }

  /** The members of whom something is known. This peer is not among them. */
  get members(): readonly MemberPresence[] {
    return this.#state.list();
  }

  /** What is known of a member, by endpoint. */
  of(endpoint: string): MemberPresence {
    return this.#state.of(endpoint);
  }

  /** Adds an event listener until the returned function is called. Signals are received until then. */
  on<K extends keyof PresenceEvents>(name: K, listener: (detail: PresenceEvents[K]) => void): Unlisten {
    const unlisten = this.#events.on(name, listener);
    this.#listeners += 1;
    this.#follow();
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      unlisten();
      this.#listeners -= 1;
      this.#follow();
    };
  }

  /**
   * Lets the other members know that a person has the room open, until the returned function is called. Do not call it
   * for a program that only reads.
   */
  open(): () => void {
    this.#opened += 1;
    this.#follow();
    if (this.#opened === 1) void this.deps.signals.following.then(() => this.#enter());
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      this.#opened -= 1;
      if (this.#opened === 0) this.#leave();
    };
  }

  /** Shows this peer as idle, or as present again, while it has the room open. */
  setIdle(isIdle: boolean): void {
    if (this.#isIdle === isIdle) return;
    this.#isIdle = isIdle;
    if (this.#hasEntered) this.#sendPresent();
  }

  /** A person is typing: call it at each key. `false`: stopped without sending. Sending a message stops it, too. */
  typing(isTyping = true): void {
    const { nowMs } = this.deps.signals;
    if (isTyping && this.#typingSentMs !== null && nowMs - this.#typingSentMs < sendAgainMs.typing) return;
    if (!isTyping && this.#typingSentMs === null) return;
    this.#typingSentMs = isTyping ? nowMs : null;
    this.#send(isTyping ? "typing" : "stopped");
  }

  /**
   * Lets the others know that a person has read a message, and all before it. By default only in rooms of two; see the
   * option `readMarks` of `connect`.
   */
  read({ id }: Pick<Message, "id">): void {
    if (!isUlid(id) || id <= this.#readUpTo) return;
    this.#readUpTo = id;
    this.#isReadDue = true;
    this.deps.signals.wake(this, Math.max(this.deps.signals.nowMs, this.#readSentMs + sendAgainMs.read));
  }

  /** The subject to receive signals on; null if they are not wanted or not permitted. */
  get subject(): string | null {
    const isWanted = this.deps.signals.isOn && (this.#opened > 0 || this.#listeners > 0);
    return isWanted && !this.#isRefused ? signalSubject(this.deps.trust.roomId, "*") : null;
  }

  /** The server refused the signals of this room, or a new login may have them again. */
  permitted(isPermitted: boolean): void {
    this.#isRefused = !isPermitted;
  }

  /** Handles a signal of another member. Resolves when it was applied or dropped. Never rejects. */
  take(sealed: SealedSignal): Promise<void> {
    return this.#take(sealed).catch(this.deps.onTrouble);
  }

  async #take(sealed: SealedSignal): Promise<void> {
    const { trust, signals } = this.deps;
    const { endpoint, epoch } = sealed;
    if (endpoint === signals.me || memberNow(trust.room, endpoint) === null) return;
    if (!this.#gate.admits(endpoint, signals.nowMs)) return;
    if (memberAt(trust.room, endpoint, epoch) === null || epoch > trust.room.state.epoch) return;
    if (signals.nowMs - trust.newerSinceMs(epoch) > oldEpochMs) return;
    const key = await this.#keyOf(epoch);
    if (key === undefined) return;
    const signal = openSignal(sealed, key, signals.busMs, decrypt);
    if (typeof signal === "string" || !this.#gate.isFirst(endpoint, sealed.replayKey, signals.nowMs)) return;
    const before = this.of(endpoint).state;
    if (this.#state.apply(endpoint, signal, signals.nowMs)) this.#events.emit("change", this.of(endpoint));
    if (before === null && this.of(endpoint).state !== null) this.#greet(signals.nowMs);
    signals.wake(this, signals.nowMs + (signal.kind === "typing" ? signalHoldsMs.typing : signalHoldsMs.present));
  }

  /** A member came, who does not know yet that this peer is here. */
  #greet(nowMs: number): void {
    const atMs = Math.max(nowMs, this.#greetedMs + greeting.everyMs) + Math.random() * greeting.withinMs;
    if (this.#opened === 0 || atMs >= this.#nextPresentMs) return;
    this.#greetedMs = this.#nextPresentMs = atMs;
    this.deps.signals.wake(this, this.#nextPresentMs);
  }

  /** Does what is due. Returns when something is due again. */
  tick(nowMs: number): number {
    const { changed, nextMs } = this.#state.expire(nowMs);
    for (const endpoint of changed) this.#events.emit("change", this.of(endpoint));
    if (this.#opened > 0 && this.#nextPresentMs <= nowMs) this.#sendPresent();
    if (this.#byeMs <= nowMs) this.#sendBye();
    const readMs = this.#isReadDue ? this.#readSentMs + sendAgainMs.read : Number.POSITIVE_INFINITY;
    if (readMs <= nowMs) this.#sendRead(nowMs);
    return Math.min(nextMs, this.#nextPresentMs, this.#byeMs, readMs <= nowMs ? Number.POSITIVE_INFINITY : readMs);
  }

  /** A connection is ready again: the others may not have got what was sent without one. */
  resume(): void {
    if (this.#hasEntered) this.#sendPresent();
    else this.#enter();
  }

  /**
   * Says that this peer is here, once it receives what the others answer. They answer one who was not here: `bye` ends
   * what they know of another device, or of a program that was killed.
   */
  #enter(): void {
    if (this.#opened === 0 || this.#hasEntered || !this.deps.signals.isConnected) return;
    this.#hasEntered = true;
    this.#send("bye");
    this.#sendPresent();
  }

  /** The user turned signals off: the others learn that this peer is gone, and what is known of them is forgotten. */
  turnOff(): void {
    if (this.#opened > 0) this.#send("bye");
    this.#typingSentMs = null;
    this.#nextPresentMs = Number.POSITIVE_INFINITY;
    this.#byeMs = Number.POSITIVE_INFINITY;
    for (const endpoint of this.#state.forget(() => true)) this.#events.emit("change", this.of(endpoint));
  }

  #leave(): void {
    this.#hasEntered = false;
    this.#nextPresentMs = Number.POSITIVE_INFINITY;
    this.#typingSentMs = null;
    this.#sendBye();
    this.#follow();
  }

  #follow(): void {
    const { signals } = this.deps;
    signals.follow(this, this.#opened > 0 || this.#listeners > 0);
  }

  #forgetOthers(): void {
    const { room } = this.deps.trust;
    const isOut = (endpoint: string) => memberNow(room, endpoint) === null;
    this.#gate.forget(isOut);
    for (const endpoint of this.#state.forget(isOut)) this.#events.emit("change", this.of(endpoint));
  }

  #sendPresent(): void {
    const { nowMs } = this.deps.signals;
    const factor = 1 + sendAgainMs.presentVariation * (2 * Math.random() - 1);
    const isSent = this.#send(this.#isIdle ? "idle" : "present");
    this.#byeMs = Number.POSITIVE_INFINITY;
    this.#nextPresentMs = nowMs + (isSent ? sendAgainMs.present * factor : overLimitMs);
    this.deps.signals.wake(this, this.#nextPresentMs);
  }

  #sendBye(): void {
    const isSent = this.#send("bye");
    this.#byeMs = isSent ? Number.POSITIVE_INFINITY : this.deps.signals.nowMs + overLimitMs;
    this.deps.signals.wake(this, this.#byeMs);
  }

  #sendRead(nowMs: number): void {
    this.#isReadDue = false;
    this.#readSentMs = nowMs;
    const { readMarks } = this.deps.signals;
    if (readMarks ?? this.deps.trust.room.present.length === 2) this.#send("read", this.#readUpTo);
  }

  /** Sends a signal, unless signals are off here. Returns false if it was over the limit. */
  #send(kind: SignalKind, messageId: string | null = null): boolean {
    const { signals, maySend, onTrouble } = this.deps;
    if (!signals.isOn || this.#isRefused || !maySend()) return true;
    if (!this.#sending.take(signals.nowMs)) return false;
    this.#seal(kind, messageId).catch(onTrouble);
    return true;
  }

  async #seal(kind: SignalKind, messageId: string | null): Promise<void> {
    const { trust, signals } = this.deps;
    const { roomId, epoch } = trust.room.state;
    const key = await this.#keyOf(epoch);
    if (key === undefined) return;
    const place = { roomId, endpoint: signals.me, epoch };
    const nonce = crypto.getRandomValues(new Uint8Array(nonceBytes));
    const subject = signalSubject(roomId, signals.me);
    signals.publish(subject, (counter) => {
      return sealSignal({ timeMs: Math.floor(signals.busMs), counter, kind, messageId }, place, key, nonce, encrypt);
    });
  }

  /** The key for the signals of an epoch; null in a room that does not encrypt, undefined if this peer has none. */
  async #keyOf(epoch: number): Promise<Uint8Array | null | undefined> {
    const known = this.#keys.get(epoch) ?? this.#readKey(epoch);
    try {
      return await known;
    } catch (error) {
      if (!hasCode(error, "not_found")) this.deps.onTrouble(error);
      return undefined;
    }
  }

  #readKey(epoch: number): Promise<Uint8Array | null> {
    const { keys, trust } = this.deps;
    const key = keys.key(epoch).then((roomKey) => (roomKey === null ? null : signalKey(roomKey, trust.roomId)));
    this.#keys.set(epoch, key);
    key.catch(() => this.#keys.delete(epoch));
    return key;
  }
}
