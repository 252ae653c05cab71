/**
 * The way back of a bus that was restored from an older backup: the port by which a store keeps its state, and takes a
 * newer version of a room back. The rules live in the plugin `rooms`; a store only stores. Times are milliseconds
 * since the epoch. Source: spec 3, "Way back".
 */
import { token } from "./plugin.ts";
import type { RoomRecord, SealedKeyRecord, StatementRecord, StayRecord } from "./store.ts";
import type { UnacceptedLimits } from "./unaccepted.ts";

/** When the way back was opened and until when it stays open. */
export interface WayBack {
  readonly openedAt: number;
  readonly closesAt: number;
}

/** One version of a room, by the hash of its statement (hex sha256 of the text). */
export interface Head {
  readonly version: number;
  readonly hash: string;
}

/** A stay that its member left after the backup was taken. It has no row yet: it reads `left` when it gets one. */
export interface DeniedStay {
  readonly roomId: string;
  readonly endpoint: string;
  readonly since: number;
  readonly leftAt: number;
}

/** A verified chain of statements that parts from the one that the bus has, above the room's restored head. */
export interface ContestedChain extends Head {
  readonly roomId: string;
  /** The sign_pub of the user who offered it. */
  readonly by: string;
  readonly at: number;
}

/** A room as a restoration makes it. */
export interface RoomRestoration {
  /**
   * The room after it, whole. Without a common version (`base` is zero) it takes the place of another room that had
   * the same id: nothing of that one is kept, and its subject is freed.
   */
  readonly room: RoomRecord;
  /** The head that the decision was based on: compared and set. Null: the store does not know the room. */
  readonly expected: Head | null;
  /**
   * The last version, and its epoch, that the store's chain and the new one have in common; zeros where there is none.
   * Statements above that version and sealed keys above that epoch are removed.
   */
  readonly base: { readonly version: number; readonly epoch: number };
  /** Ascending, without a gap, from the version after `base`. */
  readonly statements: readonly StatementRecord[];
  /** Every stay of the room, by endpoint, then since. The store keeps no other. */
  readonly stays: readonly StayRecord[];
  /** Keys to add. A key that the store keeps is not replaced. */
  readonly keys: readonly SealedKeyRecord[];
  /** The limits that hold for stays that are new here and not accepted. */
  readonly unaccepted?: UnacceptedLimits;
}

/** What became of a restoration: nothing was changed unless it says `restored`. */
export type RestorationOutcome = "restored" | "overtaken" | "too_many_rooms";

/** The state of the way back, and the one change that only it makes. */
export interface WayBackStore {
  /** Null where it was never opened, or was closed. One whose time has passed is still given. */
  getWayBack(): Promise<WayBack | null>;
  /** Opens it: notes the head of every live room. Earlier heads, contested chains and choices are forgotten. */
  openWayBack(wayBack: WayBack): Promise<void>;
  /** Closes it, and forgets heads, contested chains and choices. Idempotent. */
  closeWayBack(): Promise<void>;
  /** The head that a room had when the way back was opened; null for a room that the store did not know then. */
  getRestoredHead(roomId: string): Promise<Head | null>;
  /** Notes stays to which the store has no row. Idempotent. */
  denyStays(stays: readonly DeniedStay[]): Promise<void>;
  /** The noted stays of a room. */
  listDeniedStays(roomId: string): Promise<DeniedStay[]>;
  /** Notes a contested chain, once for each hash. The store keeps those that came first, at most 16 for each room. */
  noteContested(chain: ContestedChain): Promise<void>;
  /** Every contested chain, by room, then hash. */
  listContested(): Promise<ContestedChain[]>;
  /** Admits one chain of a room, by the hash of its newest statement, in place of a choice that was made before. */
  takeChain(roomId: string, hash: string): Promise<void>;
  /** The hash of the admitted chain, or null. */
  getTakenChain(roomId: string): Promise<string | null>;
  /**
   * Brings a room back in one step, or changes nothing. `overtaken`: the head is not the expected one, because another
   * change came first. `too_many_rooms`: the room would be created, and its creator has `liveMax` live rooms, counted
   * in the same step.
   * What the store has of a stay by endpoint and since is kept, as `keptStay` says: its mark `left`, its devices, its
   * acceptance. The open stays that it does not have count against the limits of `unaccepted`, in the same step.
   * Errors: conflict when the subject of a room that is created belongs to another room; quota over those limits.
   */
  restoreRoom(restoration: RoomRestoration, liveMax?: number): Promise<RestorationOutcome>;
}

/** How long the way back stays open after a restore, in days. Source: spec 3. */
export const wayBackDays = 30;

/** How many contested chains of one room are kept. */
export const contestedMax = 16;

/** The way back. */
export const WayBackStore = token<WayBackStore>("way-back-store");
