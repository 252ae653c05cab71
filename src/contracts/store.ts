/**
 * The ports of a store. A store stores: rules live above, once. A port returns the record, null for a miss, or throws;
 * a boolean only says who won a race. Every port throws `unavailable` when its backend does not answer in time.
 * Times are milliseconds since the epoch; keys are lowercase hex.
 */
import type { UserRole } from "../wire/api.ts";
import type { Looks } from "../wire/looks.ts";
import type { MemberLine, Policy } from "../wire/statement.ts";
import { token } from "./plugin.ts";
import type { UnacceptedLimits } from "./unaccepted.ts";

/** Whether a user may do anything at all. */
export type UserStatus = "active" | "revoked";

/** A user. Source: spec 7. */
export interface UserRecord {
  readonly signPub: string;
  readonly endpoint: string;
  readonly kexPub: string | null;
  readonly kexSig: string | null;
  readonly handle: string;
  readonly role: UserRole;
  readonly status: UserStatus;
  readonly createdAt: number;
  readonly revokedAt: number | null;
  /**
   * Grows with every change of the record; what `replaceUser` compares. The store's own: what is inserted is ignored,
   * and a record that was deleted and inserted again has another one.
   */
  readonly revision: number;
}

/** The active admins, as one record, so that two removals cannot each leave the other. */
export interface AdminRoster {
  readonly admins: readonly string[];
  readonly revision: number;
}

/** Which active users are asked for. */
export interface ActiveUsers {
  /** Those whose handle has one of these looks; all where it is left out. */
  readonly looks?: Looks | undefined;
  /** Those behind this endpoint; from the first for null. */
  readonly after: string | null;
  readonly limit: number;
}

/** Users by key. */
export interface UserStore {
  getUser(signPub: string): Promise<UserRecord | null>;
  getUserByEndpoint(endpoint: string): Promise<UserRecord | null>;
  /** Errors: conflict when the key is known, whatever its status; the row is untouched then. */
  insertUser(user: UserRecord): Promise<void>;
  /** Stores `user` in place of the record with the same key and revision; false when another change came first. */
  replaceUser(user: UserRecord): Promise<boolean>;
  /** False when there was none. */
  deleteUser(signPub: string): Promise<boolean>;
  /** By key, those after `after`. */
  listUsers(after: string | null, limit: number): Promise<UserRecord[]>;
  /**
   * Active users by endpoint. The store keeps an index of the looks of handles (`looksOf`), computed when a handle is
   * written, and again when `looksVersion` differs from the one they were computed with.
   */
  listActive(query: ActiveUsers): Promise<UserRecord[]>;
  getRoster(): Promise<AdminRoster>;
  /** Compare-and-set on the revision. */
  replaceRoster(roster: AdminRoster): Promise<boolean>;
}

/** An invite. The token itself is never stored. Source: spec 7. */
export interface InviteRecord {
  readonly id: string;
  readonly tokenHash: string;
  readonly handle: string;
  readonly role: UserRole;
  readonly expiresAt: number;
  readonly createdAt: number;
  readonly usedAt: number | null;
  readonly usedSignPub: string | null;
  readonly usedKexPub: string | null;
  /** When the user of the claim was there: past it the claim makes no user again. */
  readonly completedAt: number | null;
}

/** Invites by id. */
export interface InviteStore {
  /**
   * Adds an invite. False, and nothing is added, where `pendingMax` others are not used: counted and written in one
   * step, however many callers add invites at once.
   * Errors: conflict when the id is known.
   */
  insertInvite(invite: InviteRecord, pendingMax?: number): Promise<boolean>;
  getInvite(id: string): Promise<InviteRecord | null>;
  /** True for exactly one caller, whoever races; false for a used or unknown one. */
  claimInvite(id: string, claim: { signPub: string; kexPub: string; at: number }): Promise<boolean>;
  /**
   * Notes that the claim's user is there. Idempotent; does nothing to one that is not used.
   * `made` resolves when the user is there: a store waits for it, and notes nothing where it fails, unless it commits
   * both together.
   */
  completeInvite(id: string, at: number, made?: Promise<unknown>): Promise<void>;
  /** Removes one that is not used; false when it is used or unknown. */
  deleteInvite(id: string): Promise<boolean>;
  /** Those not used, by creation, at most `limit`. */
  listPendingInvites(limit: number): Promise<InviteRecord[]>;
}

/** A room. Source: spec 3. */
export interface RoomRecord {
  readonly roomId: string;
  readonly subject: string;
  readonly policy: Policy;
  readonly epoch: number;
  readonly keyCheck: string;
  readonly version: number;
  /** Hex sha256 of the newest statement. */
  readonly statementHash: string;
  readonly creator: string;
  readonly createdAt: number;
  /** Set when the room was deleted: a tombstone, which keeps its id from ever being used again. */
  readonly deletedAt: number | null;
  /** Whether some member's stay is open although they left. Kept by the store. */
  readonly rekeyPending: boolean;
}

/** One stay of one member: the signed line and what readers need beside it. */
export interface StayRecord extends MemberLine {
  readonly kex_sig: string;
  readonly handle: string;
  /** When they left, were revoked or deleted, and were not signed out yet: access is gone. Null: they did not. */
  readonly leftAt: number | null;
  /** The devices that have a durable here, by name, sorted. `applyChange` does not touch them. */
  readonly devices: readonly string[];
  /** When the member accepted the stay, so that it counts on the data plane; null: not yet. `applyChange` keeps it. */
  readonly acceptedAt: number | null;
  /** The endpoint of the signer of the statement that began the stay; null if it began before this was recorded. */
  readonly addedBy: string | null;
}

/**
 * What becomes of an open stay: it with another `leftAt`, `devices` or `acceptedAt`, or null to leave it as it is.
 * Pure, and asked again where another change came first. `ownersIn`: the owners of the room who have not left.
 * Errors: it throws what refuses the change.
 */
export type StayRule = (stay: StayRecord, ownersIn: number) => StayRecord | null;

/** A room key of one epoch, sealed to one member. */
export interface SealedKeyRecord {
  readonly endpoint: string;
  readonly epoch: number;
  readonly sealedKey: string;
  /** The endpoint of the signer of the statement with which the key came: who is charged for it. */
  readonly chargedTo: string;
}

/** A statement as it was taken. */
export interface StatementRecord {
  readonly version: number;
  readonly text: string;
  readonly by: string;
  readonly sig: string;
}

/** A room's first version, whole. */
export interface NewRoom {
  readonly room: RoomRecord;
  readonly stay: StayRecord;
  readonly keys: readonly SealedKeyRecord[];
  readonly statement: StatementRecord;
}

/**
 * One version more. `stays` holds those that are new or differ, by (endpoint, since); `keys` are of the room's epoch.
 */
export interface RoomChange {
  readonly room: RoomRecord;
  readonly stays: readonly StayRecord[];
  readonly keys: readonly SealedKeyRecord[];
  readonly statement: StatementRecord;
  /** Given where members are added: the limits that hold for new stays, which are not accepted. */
  readonly unaccepted?: UnacceptedLimits;
}

/** Which of a member's rooms are listed: those after a room id, so many at most, only accepted or unaccepted ones. */
export interface RoomsOfOptions {
  readonly after?: string | null;
  readonly limit?: number;
  readonly accepted?: boolean;
}

/** A room that somebody is in, and their stay. */
export interface Membership {
  readonly room: RoomRecord;
  readonly stay: StayRecord;
}

/**
 * Rooms with their members, keys and statements.
 * Crash order, where the backend has no transaction: removals before, additions after the room entry, which is the
 * commit point; readers ignore what is newer than it. So a crash denies and never admits. Source: spec 10.
 */
export interface RoomStore {
  /**
   * Adds a room. False, and nothing is added, where its creator has `liveMax` live rooms: counted and written in one
   * step, however many callers on however many nodes add rooms at once.
   * Errors: conflict when the subject or the id is taken; gone when the id belonged to a deleted room.
   */
  insertRoom(room: NewRoom, liveMax?: number): Promise<boolean>;
  /** Also a deleted one, as a tombstone. */
  getRoom(roomId: string): Promise<RoomRecord | null>;
  /** The room that claims a subject: live, or deleted and not purged yet. */
  findRoomId(subject: string): Promise<string | null>;
  /** The open stay, left or not. */
  getStay(roomId: string, endpoint: string): Promise<StayRecord | null>;
  /** Every stay, by endpoint, then since. */
  listStays(roomId: string): Promise<StayRecord[]>;
  /** Live rooms with an open stay that was not left, by room id. */
  listRoomsOf(endpoint: string, options?: RoomsOfOptions): Promise<Membership[]>;
  /** Live rooms that somebody created. */
  countRoomsBy(creator: string): Promise<number>;
  /** The key of an epoch, or of the latest where `epoch` is null. */
  getSealedKey(roomId: string, endpoint: string, epoch: number | null): Promise<SealedKeyRecord | null>;
  /** Ascending from version `from`. */
  listStatements(roomId: string, from: number, limit: number): Promise<StatementRecord[]>;
  /**
   * Compare-and-set on `room.version - 1` of a live room; false when another change came first, and nothing is changed.
   * A stay that was marked left stays so, whatever the change says of it: the mark may be the newer of the two. Where
   * with such marks no owner would be in, they came first: false. What a known stay was accepted at, and by whom it
   * was added, stays as it is.
   * Errors: quota where a new stay is over the limits of `unaccepted`: counted and written in one step.
   */
  applyChange(change: RoomChange): Promise<boolean>;
  /**
   * Replaces the open stay of a member by what `rule` makes of it, in one step: no other change of the room comes in
   * between. Gives the stay as it is then, or null where there is no open stay or the rule leaves it as it is.
   * Errors: those of `rule`.
   */
  changeStay(roomId: string, endpoint: string, rule: StayRule): Promise<StayRecord | null>;
  /** What somebody is charged for rows, in all rooms: see `rowBytes`. What was committed before the call is in it. */
  rowBytesOf(payer: string): Promise<number>;
  /**
   * Removes some of the sealed keys of those who have no open stay in a room, which nobody can read any more, and
   * gives them back to their payers. Gives where to go on, as `after` of the next call, or null when there are none.
   */
  dropKeys(roomId: string, after: string | null): Promise<string | null>;
  /** The first step of a deletion: from here on the room reads as deleted. False when it already did. */
  markDeleted(roomId: string, at: number): Promise<boolean>;
  /** The last step: removes all but the tombstone, then frees the subject. Idempotent; does nothing to a live room. */
  purgeRoom(roomId: string): Promise<void>;
  /** Tombstones included, by room id, those after `after`. */
  listRooms(after: string | null, limit: number): Promise<RoomRecord[]>;
}

/** One row of a whole store, in an order in which it can be written again. */
export type SnapshotRow =
  | { readonly kind: "user"; readonly user: UserRecord }
  | { readonly kind: "invite"; readonly invite: InviteRecord }
  | { readonly kind: "room"; readonly room: RoomRecord }
  | { readonly kind: "stay"; readonly roomId: string; readonly stay: StayRecord }
  | { readonly kind: "key"; readonly roomId: string; readonly key: SealedKeyRecord }
  | { readonly kind: "statement"; readonly roomId: string; readonly statement: StatementRecord };

/** The whole of a store, to move it or to compare it. */
export interface Snapshot {
  /** Users, invites, then room by room with its parts, each by its key; revisions read 0: they belong to the store. */
  exportAll(): AsyncIterable<SnapshotRow>;
  /**
   * Writes rows as they are, whatever is there. Idempotent.
   * The roster is no row: it is made anew from the active admins. A deleted room claims its subject while it has stays.
   */
  importAll(rows: AsyncIterable<SnapshotRow> | Iterable<SnapshotRow>): Promise<void>;
  /**
   * Writes a consistent copy of the backend's own files to a path that does not exist.
   * Errors: conflict when the path is there; what it holds is untouched.
   */
  backup(file: string): Promise<void>;
}

/** The rooms. */
export const RoomStore = token<RoomStore>("room-store");
/** The users. */
export const UserStore = token<UserStore>("user-store");
/** The invites. */
export const InviteStore = token<InviteStore>("invite-store");
/** The whole store. */
export const Snapshot = token<Snapshot>("snapshot");
