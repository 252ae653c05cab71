/**
 * What an owner's client does for a room by itself: it removes members who left, and replaces a key that is too old.
 *
 * A leave takes effect on the server at once, but until an owner signs a statement, messages are sealed with a key that
 * the departed member holds. So a room is settled when it is opened, after a connection was made, on a notice, and
 * before anything is sealed. One statement removes all who left; there is at most one a minute.
 * Source: docs/protocol/rooms.md, docs/protocol/notices.md.
 */
import { hasCode } from "../../wire/errors.ts";
import { pause } from "../transport/wait.ts";
import type { KeyAge } from "../trust/key-age.ts";
import type { RoomTrust } from "../trust/room-trust.ts";
import type { RoomChanges } from "./room-changes.ts";

/** The minimum time between two settlements of a room, in milliseconds. Source: docs/protocol/logins.md. */
const settleEveryMs = 60_000;
/**
 * The maximum random delay before settling in the background, in milliseconds: another owner's client may be faster.
 */
const settleWithinMs = 500;

interface SettlingDeps {
  readonly trust: RoomTrust;
  readonly changes: RoomChanges;
  readonly age: KeyAge;
  /** This peer's signing key, in hex. */
  readonly me: string;
  /** Whether this client settles by itself; also false while a person must decide something about the room. */
  readonly isAllowed: () => boolean;
  /**
   * Whether this peer created or accepted the room, so that a stranger's room causes no work. Called if a settlement is
   * due.
   */
  readonly isAccepted: () => Promise<boolean>;
  /** Called once for each set of members who left and whose removal no owner has signed. */
  readonly onPending: (left: readonly string[]) => void;
  readonly onTrouble: (error: unknown) => void;
  readonly signal: AbortSignal;
}

/** Settles one room. */
export class Settling {
  #running: Promise<void> | null = null;
  #lastMs = Number.NEGATIVE_INFINITY;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #reported = "";

  constructor(private readonly deps: SettlingDeps) {}

  /** Whether members left whose removal no owner has signed. */
  get isPending(): boolean {
    return this.deps.trust.room.leavers.size > 0;
  }

  /** Settles in the background, after a random delay. Never fails. */
  async settleSoon(): Promise<void> {
    try {
      if (!this.#isOwner || !this.deps.isAllowed()) return;
      const { state } = this.deps.trust.room;
      if (state.policy.encrypt) await this.deps.age.look(state.epoch);
      if (!this.#isDue || !(await this.deps.isAccepted())) return;
      await pause(Math.random() * settleWithinMs, this.deps.signal);
      await this.#settle();
    } catch (error) {
      this.#trouble(error);
    }
  }

  /** Settles before a message is sealed, if possible; otherwise reports the pending members. Errors: room_forked. */
  async beforeSealing(): Promise<void> {
    if (this.#isDue && this.#isOwner && this.deps.isAllowed()) await this.#settle();
    this.#reportPending();
  }

  get #isOwner(): boolean {
    return this.deps.trust.room.owners.includes(this.deps.me);
  }

  get #isDue(): boolean {
    return this.isPending || this.deps.age.isOver(this.deps.trust.room.state.epoch);
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
    const { trust, changes, age } = this.deps;
    const { epoch } = trust.room.state;
    const isOver = age.isOver(epoch);
    try {
      await changes.settle((room) => room.leavers.size > 0 || (isOver && room.state.epoch === epoch));
    } catch (error) {
      // Another owner's client was faster.
      if (!hasCode(error, "conflict")) this.#trouble(error);
    }
  }

  #settleLater(ms: number): void {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (!this.deps.signal.aborted) void this.settleSoon();
    }, ms);
    (this.#timer as { unref?: () => void }).unref?.();
  }

  #reportPending(): void {
    const left = [...this.deps.trust.room.leavers];
    const name = left.join();
    if (left.length > 0 && name !== this.#reported) this.deps.onPending(left);
    this.#reported = name;
  }

  #trouble(error: unknown): void {
    if (!this.deps.signal.aborted) this.deps.onTrouble(error);
  }
}
