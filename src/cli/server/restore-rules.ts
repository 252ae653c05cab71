/**
 * What a restore leaves out of a backup: everything that was denied after the backup was taken. The rules change rows
 * on their way into the store, so a denied user is not admitted at any moment, and a restore that is interrupted and
 * run again produces the same rows. restore.ts uses this.
 */
import type { Denial, DenialKind } from "../../contracts/denials.ts";
import type { InviteRecord, SnapshotRoom, SnapshotRow, StayRecord, UserRecord } from "../../contracts/store.ts";
import type { DeniedStay } from "../../contracts/way-back.ts";
import { endpointId } from "../../wire/names.ts";
import { zeroHash } from "../../wire/statement.ts";

/** The inputs of the rules. */
export interface RestoreRules {
  /** Null if no denials are known. Then pending invites are cancelled, and only the named admins stay admins. */
  readonly denials: readonly Denial[] | null;
  /** The keys of users who stay admins. Null: all of them, provided that denials are known. */
  readonly admins: readonly string[] | null;
  /** The keys of users to revoke. */
  readonly revoked: readonly string[];
  /** When the backup was taken, in milliseconds since the epoch. */
  readonly takenAt: number;
}

/** What the rules changed in one pass over the rows. */
export interface RestoreChanges {
  readonly revoked: UserRecord[];
  readonly deleted: UserRecord[];
  readonly demoted: UserRecord[];
  readonly cancelled: InviteRecord[];
  readonly deletedRooms: string[];
  /** Stays in the backup that are now marked as left. */
  readonly left: StayRecord[];
  /** Denied stays that the backup does not contain. */
  readonly unknownStays: DeniedStay[];
  readonly admins: UserRecord[];
}

type RoomPart = Extract<SnapshotRow, { readonly roomId: string }>;

/** A tombstone for a room that was created and deleted after the backup, so that its id is never reused. */
function tombstone(roomId: string, deletedAt: number): SnapshotRoom {
  const none = { subject: "", creator: "A".repeat(43), keyCheck: zeroHash, statementHash: zeroHash };
  const policy = { encrypt: false, persist: false, sign_msgs: false };
  return { roomId, policy, ...none, epoch: 1, version: 1, createdAt: deletedAt, deletedAt, rekeyPending: false };
}

/** The denials, in order, without the revocations of users who were restored after them. */
function inForce(denials: readonly Denial[]): Denial[] {
  const restored = new Set<string>();
  const found = denials.toReversed().filter(({ kind, key }) => {
    if (kind === "user-restored") restored.add(key);
    return kind !== "user-restored" && !(kind === "user-revoked" && restored.has(key));
  });
  return found.toReversed();
}

/** One pass over the rows of a backup. */
class Pass {
  readonly changes: RestoreChanges = {
    ...{
      revoked: [],
      deleted: [],
      demoted: [],
      cancelled: [],
      deletedRooms: [],
      left: [],
      unknownStays: [],
      admins: [],
    },
  };
  readonly #rules: RestoreRules;
  readonly #byKey: ReadonlyMap<string, readonly Denial[]>;
  /** Endpoints of denied users, and since when. */
  readonly #out = new Map<string, number>();
  /** Deleted rooms that the pass has not reached yet, ascending. */
  readonly #deleted: [roomId: string, at: number][];
  readonly #left: Map<string, DeniedStay>;
  #skipped: string | null = null;

  constructor(rules: RestoreRules) {
    this.#rules = rules;
    const denials = inForce(rules.denials ?? []);
    this.#byKey = Map.groupBy(denials, ({ key }) => key);
    for (const { kind, key, at } of denials) {
      if (kind === "user-revoked" || kind === "user-deleted") this.#out.set(endpointId(key), at);
    }
    const rooms = denials.flatMap(({ kind, key, at }) => (kind === "room-deleted" ? [[key, at] as const] : []));
    this.#deleted = [...new Map(rooms)].sort(([a], [b]) => (a < b ? -1 : 1));
    this.#left = new Map(
      denials.flatMap(({ kind, key, at }) => {
        const [roomId = "", endpoint = "", since] = key.split("/");
        return kind === "left" ? [[key, { roomId, endpoint, since: Number(since), leftAt: at }] as const] : [];
      }),
    );
  }

  /** Yields the rows that replace a row. */
  *row(row: SnapshotRow): Generator<SnapshotRow> {
    if (row.kind === "user") yield* this.#user(row.user);
    else if (row.kind === "invite") yield* this.#invite(row.invite);
    else if (row.kind === "room") yield* this.#room(row.room);
    else yield* this.#part(row);
  }

  /** Yields the rows after the last one. */
  *end(): Generator<SnapshotRow> {
    yield* this.#tombstonesBefore(null);
    const deleted = new Set(this.changes.deletedRooms);
    for (const stay of this.#left.values()) if (!deleted.has(stay.roomId)) this.changes.unknownStays.push(stay);
  }

  #deniedAt(kind: DenialKind, key: string, since: number): number | null {
    const at = this.#byKey.get(key)?.find((one) => one.kind === kind && one.at >= since)?.at;
    return at ?? null;
  }

  *#user(user: UserRecord): Generator<SnapshotRow> {
    const { signPub, endpoint, createdAt } = user;
    const { admins, denials, revoked, takenAt } = this.#rules;
    // A user who was deleted and added again is a new one: only denials after that count.
    const deletedAt = this.#deniedAt("user-deleted", signPub, createdAt);
    const byDenial = this.#deniedAt("user-revoked", signPub, createdAt);
    const revokedAt = byDenial ?? (revoked.includes(signPub) ? takenAt : null);
    if (deletedAt === null && revokedAt === null) this.#out.delete(endpoint);
    else this.#out.set(endpoint, deletedAt ?? revokedAt ?? takenAt);
    if (deletedAt !== null) return void this.changes.deleted.push(user);
    let next = user;
    if (revokedAt !== null && user.status !== "revoked") {
      next = { ...next, status: "revoked", revokedAt };
      this.changes.revoked.push(user);
    }
    const isNamed = admins === null ? denials !== null : admins.includes(signPub);
    const hasLost = this.#deniedAt("admin-lost", signPub, Math.max(createdAt, takenAt)) !== null;
    if (next.role === "admin" && (!isNamed || hasLost)) {
      next = { ...next, role: "member" };
      this.changes.demoted.push(user);
    }
    if (next.role === "admin" && next.status === "active") this.changes.admins.push(next);
    yield { kind: "user", user: next };
  }

  *#invite(invite: InviteRecord): Generator<SnapshotRow> {
    const isDenied =
      this.#rules.denials === null ||
      this.#deniedAt("invite-spent", invite.id, 0) !== null ||
      this.#deniedAt("invite-cancelled", invite.id, 0) !== null;
    if (invite.usedAt === null && isDenied) return void this.changes.cancelled.push(invite);
    yield { kind: "invite", invite };
  }

  *#room(room: SnapshotRoom): Generator<SnapshotRow> {
    yield* this.#tombstonesBefore(room.roomId);
    const [next] = this.#deleted;
    this.#skipped = null;
    if (next?.[0] !== room.roomId) return yield { kind: "room", room };
    this.#deleted.shift();
    if (room.deletedAt !== null) return yield { kind: "room", room };
    this.#skipped = room.roomId;
    this.changes.deletedRooms.push(room.roomId);
    yield { kind: "room", room: { ...room, deletedAt: next[1], rekeyPending: false } };
  }

  *#tombstonesBefore(roomId: string | null): Generator<SnapshotRow> {
    for (
      let [next] = this.#deleted;
      next !== undefined && (roomId === null || next[0] < roomId);
      [next] = this.#deleted
    ) {
      this.#deleted.shift();
      this.changes.deletedRooms.push(next[0]);
      yield { kind: "room", room: tombstone(...next) };
    }
  }

  *#part(row: RoomPart): Generator<SnapshotRow> {
    const { roomId } = row;
    if (row.kind !== "stay") {
      if (roomId !== this.#skipped) yield row;
      return;
    }
    const { stay } = row;
    const key = `${roomId}/${stay.endpoint}/${stay.since}`;
    const denied = this.#left.get(key)?.leftAt ?? null;
    this.#left.delete(key);
    if (roomId === this.#skipped) return;
    const leftAt = denied ?? this.#out.get(stay.endpoint) ?? null;
    if (stay.until !== 0 || stay.leftAt !== null || leftAt === null) return yield row;
    this.changes.left.push(stay);
    yield { kind: "stay", roomId, stay: { ...stay, leftAt } };
  }
}

/** Applies the rules to the rows of a backup. `onEnd` receives what they changed. */
export async function* ruledRows(
  rows: AsyncIterable<SnapshotRow>,
  rules: RestoreRules,
  onEnd: (changes: RestoreChanges) => void = () => undefined,
): AsyncGenerator<SnapshotRow> {
  const pass = new Pass(rules);
  for await (const row of rows) yield* pass.row(row);
  yield* pass.end();
  onEnd(pass.changes);
}
