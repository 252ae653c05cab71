/** A restore leaves out everything that was denied after the backup was taken. */
import { describe, expect, test } from "bun:test";
import { type RestoreChanges, type RestoreRules, ruledRows } from "../../src/cli/server/restore-rules.ts";
import { type Denial, type DenialKind, stayDenialKey } from "../../src/contracts/denials.ts";
import type { SnapshotRow } from "../../src/contracts/store.ts";
import {
  epochMs,
  inviteSample,
  keySample,
  peer,
  roomIdSample,
  roomSample,
  sealedSample,
  statementSample,
  staySample,
  userSample,
} from "../conformance/store-samples.ts";

const takenAt = epochMs + 1_000;
const after = takenAt + 500;
const denial = (kind: DenialKind, key: string, at = after): Denial => ({ kind, key, at });

/** Users 1 (admin), 2, 3 and 4 (admin); invite 1 pending, 2 used; rooms 1 and 3 with peers 1 and 2. */
function backup(): SnapshotRow[] {
  const rows: SnapshotRow[] = [
    ...[1, 2, 3, 4].map((n) => {
      return { kind: "user" as const, user: userSample(n, { role: n === 1 || n === 4 ? "admin" : "member" }) };
    }),
    { kind: "invite", invite: inviteSample(1) },
    { kind: "invite", invite: inviteSample(2, { usedAt: 7, usedSignPub: keySample(2) }) },
  ];
  for (const n of [1, 3]) {
    const roomId = roomIdSample(n);
    rows.push({ kind: "room", room: roomSample(n).room });
    const stays = [staySample(1, { role: "owner" }), staySample(2, { until: 2 }), staySample(2, { since: 2 })];
    rows.push(...stays.map((stay) => ({ kind: "stay" as const, roomId, stay })));
    rows.push({ kind: "key", roomId, key: sealedSample(1, 1) });
    rows.push({ kind: "statement", roomId, statement: statementSample(roomId, 1) });
  }
  return rows;
}

/** The rows that a restore creates from the backup, and the changes that it reports. */
async function restored(rules: Partial<RestoreRules>, rows = backup()) {
  let changes: RestoreChanges | null = null;
  const all = { denials: [], admins: null, revoked: [], takenAt, ...rules };
  async function* given() {
    yield* rows;
  }
  const made = await Array.fromAsync(
    ruledRows(given(), all, (result) => {
      changes = result;
    }),
  );
  return { rows: made, changes: changes as unknown as RestoreChanges };
}

const usersIn = (rows: readonly SnapshotRow[]) => rows.flatMap((row) => (row.kind === "user" ? [row.user] : []));
const roleOf = (rows: readonly SnapshotRow[], n: number) =>
  usersIn(rows).find(({ signPub }) => signPub === keySample(n))?.role;
const openStays = (rows: readonly SnapshotRow[], n: number) =>
  rows.flatMap((row) =>
    row.kind === "stay" && row.stay.endpoint === peer(n) && row.stay.until === 0 ? [row.stay.leftAt] : [],
  );

describe("a restore", () => {
  test("changes no row if there are no denials", async () => {
    const { rows, changes } = await restored({});
    expect(rows).toEqual(backup());
    expect(changes.admins.map(({ signPub }) => signPub)).toEqual([keySample(1), keySample(4)]);
  });

  test("keeps in a user who was restored after the last revocation, out of the rooms that were left by then", async () => {
    const key = keySample(2);
    const left = denial("left", stayDenialKey(roomIdSample(1), peer(2), 2));
    const lines = [left, denial("user-revoked", key, after + 1), denial("user-restored", key, after + 2)];
    const { rows, changes } = await restored({ denials: lines });
    expect(usersIn(rows).find(({ signPub }) => signPub === key)?.status).toBe("active");
    expect(openStays(rows, 2)).toEqual([after, null]);
    expect(changes.revoked).toEqual([]);
    const again = await restored({ denials: [...lines, denial("user-revoked", key, after + 3)] });
    expect(usersIn(again.rows).find(({ signPub }) => signPub === key)?.revokedAt).toBe(after + 3);
    expect(openStays(again.rows, 2)).toEqual([after, after + 3]);
    const deleted = await restored({ denials: [denial("user-deleted", key), denial("user-restored", key, after + 1)] });
    expect(usersIn(deleted.rows).map(({ signPub }) => signPub)).not.toContain(key);
  });

  test("keeps out users who were revoked or deleted since the backup, in their rooms, too", async () => {
    const denials = [denial("user-revoked", keySample(1)), denial("user-deleted", keySample(2))];
    const { rows, changes } = await restored({ denials });
    expect(usersIn(rows).map(({ signPub }) => signPub)).not.toContain(keySample(2));
    expect(usersIn(rows)[0]).toEqual(userSample(1, { role: "admin", status: "revoked", revokedAt: after }));
    for (const n of [1, 2]) expect(openStays(rows, n)).toEqual([after, after]);
    expect(rows.filter((row) => row.kind === "stay" && row.stay.until !== 0)).toHaveLength(2);
    expect(changes.admins.map(({ signPub }) => signPub)).toEqual([keySample(4)]);
    expect([changes.revoked, changes.deleted, changes.left].map((list) => list.length)).toEqual([1, 1, 4]);
  });

  test("keeps users who were deleted and added again, or whose denial is older than their row", async () => {
    const old = epochMs - 5;
    const denials = [denial("user-deleted", keySample(2), old), denial("user-revoked", keySample(1), old)];
    expect((await restored({ denials })).rows).toEqual(backup());
    // A user without a row, deleted before the backup, is removed from every room.
    const rows = backup().filter((row) => row.kind !== "user" || row.user.signPub !== keySample(2));
    expect(openStays((await restored({ denials }, rows)).rows, 2)).toEqual([old, old]);
  });

  test("demotes an admin who lost the role since the backup, and no other", async () => {
    const denials = [denial("admin-lost", keySample(1)), denial("admin-lost", keySample(4), takenAt - 1)];
    const { rows } = await restored({ denials });
    expect([1, 4].map((n) => roleOf(rows, n))).toEqual(["member", "admin"]);
  });

  test("drops invites that were redeemed or cancelled since the backup, and restores no redeemed one", async () => {
    for (const kind of ["invite-spent", "invite-cancelled"] as const) {
      const denials = [denial(kind, inviteSample(1).id), denial(kind, inviteSample(2).id)];
      const { rows } = await restored({ denials });
      expect(rows.flatMap((row) => (row.kind === "invite" ? [row.invite.id] : []))).toEqual([inviteSample(2).id]);
    }
  });

  test("closes stays that were left since the backup, and notes unknown ones", async () => {
    const [known, unknown] = [stayDenialKey(roomIdSample(1), peer(2), 2), stayDenialKey(roomIdSample(9), peer(3), 4)];
    const over = stayDenialKey(roomIdSample(3), peer(2), 1);
    const denials = [denial("left", known), denial("left", unknown), denial("left", over)];
    const { rows, changes } = await restored({ denials });
    expect(openStays(rows, 2)).toEqual([after, null]);
    expect(changes.left).toHaveLength(1);
    expect(changes.unknownStays).toEqual([{ roomId: roomIdSample(9), endpoint: peer(3), since: 4, leftAt: after }]);
  });

  test("writes tombstones for rooms deleted since the backup, known or not, in the order of the rooms", async () => {
    const ids = [roomIdSample(9), roomIdSample(2), roomIdSample(1), roomIdSample(0)];
    const denials = [
      ...ids.map((id) => denial("room-deleted", id)),
      denial("left", stayDenialKey(ids[0] ?? "", peer(3), 1)),
    ];
    const { rows, changes } = await restored({ denials });
    const rooms = rows.flatMap((row) => (row.kind === "room" ? [row.room] : []));
    expect(rooms.map(({ roomId }) => roomId)).toEqual([0, 1, 2, 3, 9].map(roomIdSample));
    expect(rooms.map(({ deletedAt }) => deletedAt)).toEqual([after, after, after, null, after]);
    expect(rows.filter((row) => "roomId" in row && row.roomId === roomIdSample(1))).toEqual([]);
    expect(rows.filter((row) => "roomId" in row && row.roomId === roomIdSample(3))).toHaveLength(5);
    expect(changes.unknownStays).toEqual([]);
  });

  test("without denials cancels every pending invite, and demotes all admins except the named ones", async () => {
    const { rows, changes } = await restored({ denials: null, admins: [keySample(4)], revoked: [keySample(3)] });
    expect([1, 4].map((n) => roleOf(rows, n))).toEqual(["member", "admin"]);
    expect(changes.cancelled.map(({ id }) => id)).toEqual([inviteSample(1).id]);
    expect(usersIn(rows)[2]).toMatchObject({ status: "revoked", revokedAt: takenAt });
    expect((await restored({ denials: null })).changes.admins).toEqual([]);
    const named = await restored({ admins: [keySample(1)] });
    expect([1, 4].map((n) => roleOf(named.rows, n))).toEqual(["admin", "member"]);
  });
});
