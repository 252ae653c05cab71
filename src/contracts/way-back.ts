/**
 * The way back: after a bus is restored from an older backup, owners may for some days bring back newer versions of
 * their rooms. This is the store's interface for its state, and for restoring one room. The rules live in the plugin
 * `rooms`; a store only stores. Times are milliseconds since the epoch. Source: docs/backup.md.
 */
import { token } from "./plugin.ts";
import type { RoomRecord, SealedKeyRecord, StatementRecord, StayRecord } from "./store.ts";
import type { UnacceptedLimits } from "./unaccepted.ts";

/** When the way back was opened, and when it closes. */
export interface WayBack {
  readonly openedAt: number;
  readonly closesAt: number;
}

/** One version of a room, identified by the hash of its statement (hex sha256 of the text). */
export interface Head {
  readonly version: number;
  readonly hash: string;
}

/**
 * A stay that its member left after the backup was taken. The store has no row of it yet; the row is marked left when
 * it is added.
 */
export interface DeniedStay {
  readonly roomId: string;
  readonly endpoint: string;
  readonly since: number;
  readonly leftAt: number;
}

/** A verified chain of statements that diverges from the bus's own chain above the room's restored head. */
export interface ContestedChain extends Head {
  readonly roomId: string;
  /** The sign_pub of the user who sent it. */
  readonly by: string;
  readonly at: number;
}

/** The restoration of one room. */
export interface RoomRestoration {
  /**
   * The complete room record after the restoration. If the chains have no common version (`base` is zero), it replaces
   * another room with the same id: nothing of that room is kept, and its subject is freed.
   * Its revision only counts for a room that the store does not know; the store advances that of a known one.
   */
  readonly room: RoomRecord;
  /** The head that the decision was based on, for compare-and-set. Null: the store does not know the room. */
  readonly expected: Head | null;
  /**
   * The last version, and its epoch, that the store's chain and the new one have in common; zeros if there is none.
   * Statements above that version and sealed keys above that epoch are removed.
   */
  readonly base: { readonly version: number; readonly epoch: number };
  /** The statements after `base`, ascending, without gaps. */
  readonly statements: readonly StatementRecord[];
  /** Every stay of the room, by endpoint, then since. The store removes all others. */
  readonly stays: readonly StayRecord[];
  /** The keys to add. A key that the store keeps is not replaced. */
  readonly keys: readonly SealedKeyRecord[];
  /** The limits for stays that are new to the store and unaccepted. */
  readonly unaccepted?: UnacceptedLimits;
}

/** The outcome of a restoration. Only `restored` means that something changed. */
export type RestorationOutcome = "restored" | "overtaken" | "too_many_rooms";

/** Stores the state of the way back, and restores rooms. */
export interface WayBackStore {
  /** Null if it was never opened, or was closed. An expired one is still returned. */
  getWayBack(): Promise<WayBack | null>;
  /** Opens it and records the head of every live room. Discards earlier heads, contested chains and choices. */
  openWayBack(wayBack: WayBack): Promise<void>;
  /** Closes it and discards heads, contested chains and choices. Idempotent. */
  closeWayBack(): Promise<void>;
  /** The head that a room had when the way back was opened; null if the store did not know the room then. */
  getRestoredHead(roomId: string): Promise<Head | null>;
  /** Records departed stays that have no row in the store. Idempotent. */
  denyStays(stays: readonly DeniedStay[]): Promise<void>;
  /** Lists the recorded departed stays of a room. */
  listDeniedStays(roomId: string): Promise<DeniedStay[]>;
  /** Records a contested chain, once per hash. Keeps the first 16 for each room. */
  noteContested(chain: ContestedChain): Promise<void>;
  /** Lists every contested chain, by room, then hash. */
  listContested(): Promise<ContestedChain[]>;
  /** Records the admin's choice of a chain, by the hash of its newest statement. Replaces an earlier choice. */
  takeChain(roomId: string, hash: string): Promise<void>;
  /** The hash of the chosen chain, or null. */
  getTakenChain(roomId: string): Promise<string | null>;
  /**
   * Restores a room atomically, or changes nothing. `overtaken`: the head is not the expected one, because another
   * change came first. `too_many_rooms`: the room would be created, but its creator has `liveMax` live rooms, counted
   * in the same step.
   * For a known stay (by endpoint and since) the store keeps its `leftAt` mark, devices and acceptance, see `keptStay`.
   * Open stays that are new to it count against the limits of `unaccepted`, in the same step.
   * Errors: conflict if the subject belongs to another room; quota above those limits.
   */
  restoreRoom(restoration: RoomRestoration, liveMax?: number): Promise<RestorationOutcome>;
}

/** How long the way back stays open after a restore, in days. Source: docs/protocol/rooms.md. */
export const wayBackDays = 30;

/** The most contested chains that are kept for one room. */
export const contestedMax = 16;

/** The token of the way back store. */
export const WayBackStore = token<WayBackStore>("way-back-store");
