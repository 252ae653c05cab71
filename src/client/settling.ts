/**
 * What an owner's client does for a room by itself: it signs out members who left, so that the key which they hold
 * ends, and replaces a key that has lived too long. A leave takes effect on the bus at once, but until an owner signs
 * it, what is said is sealed with a key that the departed member has. So this is done when the room is opened, after a
 * connection was made, on a notice, and before anything is sealed: one statement for all who left, at most once a
 * minute. Source: spec 3, 9.
 */
import { hasCode } from "../wire/errors.ts";
import type { KeyAge } from "./key-age.ts";
import type { RoomChanges } from "./room-changes.ts";
import type { RoomTrust } from "./trust.ts";
import { pause } from "./wait.ts";

/** A room is settled at most once in this time, in milliseconds. Source: spec 9. */
const settleEveryMs = 60_000;
/** How long a client waits at random before it settles in the background: another owner's may be quicker. */
const settleWithinMs = 500;

interface SettlingParts {
  readonly trust: RoomTrust;
  readonly changes: RoomChanges;
  readonly age: KeyAge;
  /** This peer's signing key, in hex. */
  readonly me: string;
  /** Whether this client settles by itself; false also while a person has something to decide about the room. */
  readonly isAllowed: () => boolean;
  /** Whether this peer made or accepted the room: a stranger's room causes no work. Asked when something is due. */
  readonly isAccepted: () => Promise<boolean>;
  /** Called with the endpoints of those who left while nobody has signed them out, once for each set of them. */
  readonly onPending: (left: readonly string[]) => void;
  readonly onTrouble: (error: unknown) => void;
  readonly signal: AbortSignal;
}

/** The settling of one room. */
export class Settling {
  #running: Promise<void> | null = null;
  #lastMs = Number.NEGATIVE_INFINITY;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #reported = "";

  constructor(private readonly parts: SettlingParts) {}

  /** Whether members left whom no owner has signed out. */
  get isPending(): boolean {
    return this.parts.trust.room.leavers.size > 0;
  }

  /** Settles in the background, after a moment. It never fails. */
  async settleSoon(): Promise<void> {
    try {
      if (!this.#isOwner || !this.parts.isAllowed()) return;
      const { state } = this.parts.trust.room;
      if (state.policy.encrypt) await this.parts.age.look(state.epoch);
      if (!this.#isDue || !(await this.parts.isAccepted())) return;
      await pause(Math.random() * settleWithinMs, this.parts.signal);
      await this.#settle();
    } catch (error) {
      this.#trouble(error);
    }
  }

  /** Settles before something is sealed, as far as it can; what stays pending is reported. Errors: room_forked. */
  async beforeSealing(): Promise<void> {
    if (this.#isDue && this.#isOwner && this.parts.isAllowed()) await this.#settle();
    this.#reportPending();
  }

  get #isOwner(): boolean {
    return this.parts.trust.room.owners.includes(this.parts.me);
  }

  get #isDue(): boolean {
    return this.isPending || this.parts.age.isOver(this.parts.trust.room.state.epoch);
  }

  #settle(): Promise<void> {
    this.#running ??= this.#settleOnce().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #settleOnce(): Promise<void> {
    const waitMs = this.#lastMs + settleEveryMs - performance.now();
    if (waitMs > 0) return this.#settleLater(waitMs);
    this.#lastMs = performance.now();
    const { trust, changes, age } = this.parts;
    const { epoch } = trust.room.state;
    const isOver = age.isOver(epoch);
    try {
      await changes.settle((room) => room.leavers.size > 0 || (isOver && room.state.epoch === epoch));
    } catch (error) {
      // Another owner's client was quicker.
      if (!hasCode(error, "conflict")) this.#trouble(error);
    }
  }

  #settleLater(ms: number): void {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (!this.parts.signal.aborted) void this.settleSoon();
    }, ms);
    (this.#timer as { unref?: () => void }).unref?.();
  }

  #reportPending(): void {
    const left = [...this.parts.trust.room.leavers];
    const name = left.join();
    if (left.length > 0 && name !== this.#reported) this.parts.onPending(left);
    this.#reported = name;
  }

  #trouble(error: unknown): void {
    if (!this.parts.signal.aborted) this.parts.onTrouble(error);
  }
}
