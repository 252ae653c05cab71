/**
 * The interfaces of a store: users, invites, rooms, and the snapshot of everything. A store only stores; the rules live
 * above it, once. `store-sqlite` and `store-kv` implement them, and the same tests run against both. A method returns
 * the record, null if there is none, or throws; a boolean only says who won a race. Every method throws `unavailable`
 * if the backend does not answer in time. Times are milliseconds since the epoch; keys are lowercase hex.
 */
import type { UserRole } from "../wire/api.ts";
import type { Looks } from "../wire/looks.ts";
import type { MemberLine, Policy } from "../wire/statement.ts";
import { token } from "./plugin.ts";
import type { UnacceptedLimits } from "./unaccepted.ts";

/** Whether a user is active or revoked. */
export type UserStatus = "active" | "revoked";

/** A user. Source: docs/protocol/identity.md. */
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
   * Increases with every change of the record; `replaceUser` compares it. The store assigns it: the value given on
   * insert is ignored, and a record that is deleted and inserted again gets another one.
   */
  readonly revision: number;
}

/**
 * The list of active admins, as a single record, so that two concurrent removals cannot leave the bus without an admin.
 */
export interface AdminRoster {
  readonly admins: readonly string[];
  readonly revision: number;
}

/** A query for active users. */
export interface ActiveUsers {
  /** Only users whose handle has one of these looks; all users if absent. */
  readonly looks?: Looks | undefined;
  /** Only users after this endpoint; null starts at the first. */
  readonly after: string | null;
  readonly limit: number;
}

/** Stores users by key. */
export interface UserStore {
  getUser(signPub: string): Promise<UserRecord | null>;
  getUserByEndpoint(endpoint: string): Promise<UserRecord | null>;
  /** Errors: conflict if the key is known, even as a revoked user's; the row is unchanged then. */
  insertUser(user: UserRecord): Promise<void>;
  /** Replaces the record with the same key and revision; false if another change came first. */
  replaceUser(user: UserRecord): Promise<boolean>;
  /** Returns false if the user did not exist. */
  deleteUser(signPub: string): Promise<boolean>;
  /** Lists users by key, after `after`. */
  listUsers(after: string | null, limit: number): Promise<UserRecord[]>;
  /**
   * Lists active users by endpoint. The store indexes the looks of handles (`looksOf`): it computes them when a handle
   * is written, and recomputes them when `looksVersion` has changed.
   */
  listActive(query: ActiveUsers): Promise<UserRecord[]>;
  getRoster(): Promise<AdminRoster>;
  /** Compare-and-set on the revision. */
  replaceRoster(roster: AdminRoster): Promise<boolean>;
}

/** An invite. The token itself is never stored. Source: docs/protocol/identity.md. */
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
  /** When the user of the claim was created. From then on the claim cannot create the user again. */
  readonly completedAt: number | null;
}

/** Stores invites by id. */
export interface InviteStore {
  /**
   * Whether writes that begin in the same turn of the event loop, here and in the `UserStore` of the same plugin, are
   * committed together and in order: after a crash all of them took effect, or none.
   */
  readonly commitsTogether: boolean;
  /**
   * Adds an invite. Returns false and adds nothing if `pendingMax` other invites are unused. Counting and writing are
   * one atomic step, however many callers add invites at once.
   * Errors: conflict if the id is known.
   */
  insertInvite(invite: InviteRecord, pendingMax?: number): Promise<boolean>;
  getInvite(id: string): Promise<InviteRecord | null>;
  /** Claims an invite: true for exactly one of several racing callers; false if it is used or unknown. */
  claimInvite(id: string, claim: { signPub: string; kexPub: string; at: number }): Promise<boolean>;
  /**
   * Completes an invite by compare-and-set: true for exactly one of several racing callers; false if it is unused,
   * completed or unknown.
   */
  completeInvite(id: string, at: number): Promise<boolean>;
  /** Removes an unused invite; false if it is used or unknown. */
  deleteInvite(id: string): Promise<boolean>;
  /** Lists unused invites in order of creation, at most `limit`. */
  listPendingInvites(limit: number): Promise<InviteRecord[]>;
}

/** A room. Source: docs/protocol/rooms.md. */
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
  /** When the room was deleted. The record is then a tombstone, which keeps the id from being used again. */
  readonly deletedAt: number | null;
  /** Whether a member left whose stay is still open, so the room needs a new key. Maintained by the store. */
  readonly rekeyPending: boolean;
  /**
   * Counts the changes that decide who is in the room: 1 for a new room, and one more with each version, each departure
   * of a member and each restoration. `applyChange` and `replaceStay` compare it.
   */
  readonly revision: number;
}

/** One stay, which is one membership period of one member: the signed line, plus what readers need with it. */
export interface StayRecord extends MemberLine {
  readonly kex_sig: string;
  readonly handle: string;
  /** When the member left, was revoked or deleted. Access has ended, but no owner signed it yet. Null otherwise. */
  readonly leftAt: number | null;
  /** The devices that have a durable in this room, sorted by name. */
  readonly devices: readonly string[];
  /** When the member accepted, which gives access on the data plane; null if not yet. */
  readonly acceptedAt: number | null;
  /** The endpoint of the signer of the statement that began the stay; null if it began before this was recorded. */
  readonly addedBy: string | null;
}

/** The replacement of an open stay. */
export interface StayChange {
  /** The stay as it was read. */
  readonly before: StayRecord;
  /** The same stay with another `leftAt`, `devices`, `acceptedAt` or `handle`. */
  readonly after: StayRecord;
  /** The room's revision as it was read, if the change depends on the other members, too. */
  readonly revision?: number;
}

/** The room key of one epoch, sealed to one member. */
export interface SealedKeyRecord {
  readonly endpoint: string;
  readonly epoch: number;
  readonly sealedKey: string;
  /** The endpoint that is charged for the key: the signer of the statement that it came with. */
  readonly chargedTo: string;
}

/** A room statement as the bus accepted it. */
export interface StatementRecord {
  readonly version: number;
  readonly text: string;
  readonly by: string;
  readonly sig: string;
}

/** The complete first version of a room. */
export interface NewRoom {
  readonly room: RoomRecord;
  readonly stay: StayRecord;
  readonly keys: readonly SealedKeyRecord[];
  readonly statement: StatementRecord;
}

/**
 * The next version of a room. `room.revision` is one more than the revision that was read. `stays` holds only new or
 * changed stays, by (endpoint, since); of a known stay only `role` and `until` change. `keys` are of the room's epoch.
 */
export interface RoomChange {
  readonly room: RoomRecord;
  readonly stays: readonly StayRecord[];
  readonly keys: readonly SealedKeyRecord[];
  readonly statement: StatementRecord;
  /** The limits for new stays, which are unaccepted. Present if members are added. */
  readonly unaccepted?: UnacceptedLimits;
}

/**
 * Options of a member's room list: only rooms after a room id, at most `limit`, only accepted or only unaccepted ones.
 */
export interface RoomsOfOptions {
  readonly after?: string | null;
  readonly limit?: number;
  readonly accepted?: boolean;
}

/** A room and one member's stay in it. */
export interface Membership {
  readonly room: RoomRecord;
  readonly stay: StayRecord;
}

/**
 * Stores rooms with their stays, keys and statements.
 * A backend without transactions writes the parts of a change first, then commits it with one write of the room's own
 * entry. Readers ignore parts that no committed entry refers to. So a crash may deny access, but never grants it.
 */
export interface RoomStore {
  /**
   * Adds a room. Returns false and adds nothing if its creator has `liveMax` live rooms. Counting and writing are one
   * atomic step, however many callers on however many nodes add rooms at once.
   * Errors: conflict if the subject or the id is taken; gone if the id belonged to a deleted room.
   */
  insertRoom(room: NewRoom, liveMax?: number): Promise<boolean>;
  /** Reads a room. A deleted room is returned as a tombstone. */
  getRoom(roomId: string): Promise<RoomRecord | null>;
  /** The room that holds a subject: a live one, or a deleted one that is not purged yet. */
  findRoomId(subject: string): Promise<string | null>;
  /** A member's open stay, whether or not they left. */
  getStay(roomId: string, endpoint: string): Promise<StayRecord | null>;
  /** Lists every stay, by endpoint, then since. */
  listStays(roomId: string): Promise<StayRecord[]>;
  /** Counts the members that are in a room now: open stays that are not marked as left. 0 if there is no such room. */
  countMembers(roomId: string): Promise<number>;
  /** Lists the live rooms in which a user has an open stay and has not left, by room id. */
  listRoomsOf(endpoint: string, options?: RoomsOfOptions): Promise<Membership[]>;
  /** Counts the live rooms that a user created. */
  countRoomsBy(creator: string): Promise<number>;
  /** Reads a member's sealed key of an epoch, or of the latest one if `epoch` is null. */
  getSealedKey(roomId: string, endpoint: string, epoch: number | null): Promise<SealedKeyRecord | null>;
  /** Lists statements in ascending order, starting at version `from`. */
  listStatements(roomId: string, from: number, limit: number): Promise<StatementRecord[]>;
  /**
   * Applies a new version by compare-and-set on `room.revision - 1` of a live room. Returns false and changes nothing
   * if another change came first.
   * Errors: quota if a new stay exceeds the limits of `unaccepted`; counting and writing are one atomic step.
   */
  applyChange(change: RoomChange): Promise<boolean>;
  /**
   * Replaces an open stay of a live room by compare-and-set. Returns false and changes nothing if the stay is no longer
   * `before`, or if the room no longer has the revision that is given. A departure (`leftAt`) advances the revision.
   */
  replaceStay(roomId: string, change: StayChange): Promise<boolean>;
  /**
   * The bytes that a payer is charged for rows in all rooms: see `rowBytes`. Includes everything committed before the
   * call.
   */
  rowBytesOf(payer: string): Promise<number>;
  /**
   * Removes some sealed keys of users without an open stay in the room, which no one can read any more, and refunds
   * their payers. Returns the cursor for the next call (`after`), or null when it is done.
   */
  dropKeys(roomId: string, after: string | null): Promise<string | null>;
  /** The first step of a deletion: from now on the room reads as deleted. False if it already was. */
  markDeleted(roomId: string, at: number): Promise<boolean>;
  /**
   * The last step of a deletion: removes everything but the tombstone, then frees the subject. Idempotent; has no
   * effect on a live room.
   */
  purgeRoom(roomId: string): Promise<void>;
  /** Lists rooms by room id, after `after`, including tombstones. */
  listRooms(after: string | null, limit: number): Promise<RoomRecord[]>;
}

/** A room in a snapshot. Its revision belongs to the store: an imported room gets one that it never had there. */
export type SnapshotRoom = Omit<RoomRecord, "revision">;

/** One row of a snapshot. The order of rows allows them to be imported one by one. */
export type SnapshotRow =
  | { readonly kind: "user"; readonly user: UserRecord }
  | { readonly kind: "invite"; readonly invite: InviteRecord }
  | { readonly kind: "room"; readonly room: SnapshotRoom }
  | { readonly kind: "stay"; readonly roomId: string; readonly stay: StayRecord }
  | { readonly kind: "key"; readonly roomId: string; readonly key: SealedKeyRecord }
  | { readonly kind: "statement"; readonly roomId: string; readonly statement: StatementRecord };

/** Exports and imports the whole store, to move or compare it. */
export interface Snapshot {
  /**
   * Exports users, then invites, then room by room with its parts, each sorted by key. Users' revisions are 0,
   * because they belong to the store.
   */
  exportAll(): AsyncIterable<SnapshotRow>;
  /**
   * Imports rows as they are, over any existing ones. Idempotent.
   * The admin roster is not a row: it is rebuilt from the active admins. A deleted room holds its subject while it has
   * stays.
   */
  importAll(rows: AsyncIterable<SnapshotRow> | Iterable<SnapshotRow>): Promise<void>;
  /**
   * Writes a consistent copy of the backend's own files to a new path.
   * Errors: conflict if the path exists; it is left unchanged.
   */
  backup(file: string): Promise<void>;
}

/** The token of the room store. */
export const RoomStore = token<RoomStore>("room-store");
/** The token of the user store. */
export const UserStore = token<UserStore>("user-store");
/** The token of the invite store. */
export const InviteStore = token<InviteStore>("invite-store");
/** The token of the snapshot service. */
export const Snapshot = token<Snapshot>("snapshot");
