/** Data directories whose store a test fills, and reads back in the form of a backup. */

import { mkdirSync, readFileSync } from "node:fs";
import { leaving, withDevice } from "../../src/contracts/stay-rules.ts";
import { openSqliteStore } from "../../src/plugins/store-sqlite/store.ts";
import {
  change,
  epochMs,
  inviteSample,
  keySample,
  peer,
  reviseStay,
  roomIdSample,
  roomSample,
  sealedSample,
  staySample,
  upTo,
  userSample,
} from "../conformance/store-samples.ts";
import { type Folder, unibus } from "./executable.ts";

/** Fills a data directory's database, as a stopped server leaves it, with everything that a store can hold. */
export async function fillDatabase(folder: Folder, data: string, users = 10): Promise<void> {
  mkdirSync(folder.file(data), { recursive: true, mode: 0o700 });
  const store = openSqliteStore({ file: folder.file(data, "unibus.db") });
  const parts = { ...store, breakBackend: () => undefined };
  const { rooms, invites } = store;
  try {
    const differing = [{ role: "admin" }, { kexPub: null, kexSig: null }, { status: "revoked", revokedAt: 4 }] as const;
    await Promise.all(upTo(users).map((n) => store.users.insertUser(userSample(n, differing[n] ?? {}))));
    for (const n of upTo(3)) await invites.insertInvite(inviteSample(n));
    await invites.claimInvite(inviteSample(2).id, { signPub: keySample(2), kexPub: keySample(3), at: 7 });
    for (const n of upTo(5)) await rooms.insertRoom(roomSample(n));
    const busy = roomIdSample(1);
    await change(parts, busy, {
      stays: [staySample(2), staySample(3)],
      keys: [sealedSample(2, 1), sealedSample(3, 1)],
    });
    await change(parts, busy, { rekey: true, stays: [staySample(2, { until: 2 })], keys: [sealedSample(1, 2)] });
    await change(parts, busy, { stays: [staySample(2, { since: 2 })], keys: [sealedSample(2, 2)] });
    await reviseStay(rooms, busy, peer(2), withDevice("phone"));
    await reviseStay(rooms, busy, peer(3), leaving(epochMs));
    await rooms.markDeleted(roomIdSample(2), 50);
    await rooms.markDeleted(roomIdSample(3), 60);
    await rooms.purgeRoom(roomIdSample(3));
    await rooms.insertRoom(roomSample(9, { subject: roomSample(3).room.subject }));
  } finally {
    store.close();
  }
}

let backups = 0;

/** Returns the lines of a backup file without its header and end line, sorted by what they name. */
export function rowsIn(file: string): string[] {
  const lines = readFileSync(file, "utf8").trimEnd().split("\n").slice(1, -1);
  const sorted = (_: string, value: unknown) =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value;
  return lines.map((line) => JSON.stringify(JSON.parse(line), sorted));
}

/** Returns the rows of a data directory's store, as a new backup has them, in its order. */
export async function rowsOf(folder: Folder, data: string, ...args: readonly string[]): Promise<string[]> {
  const out = `rows-${++backups}.jsonl`;
  const done = await unibus(folder, ["backup", "--data", data, "--out", out, ...args]);
  if (done.code !== 0) throw new Error(`backup: ${done.stderr}`);
  return rowsIn(folder.file(out));
}
