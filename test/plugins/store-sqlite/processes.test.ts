/**
 * Several processes on one SQLite database: a host command and the server see each other's writes, also across a kill
 * -9.
 */
import { expect, test } from "bun:test";
import { join } from "node:path";
import type { SnapshotRow } from "../../../src/contracts/index.ts";
import { openSqliteStore } from "../../../src/plugins/store-sqlite/store.ts";
import { inviteSample, keySample, roomSample, upTo, userSample } from "../../conformance/store-samples.ts";
import { withFile } from "./folder.ts";

const start = (...args: string[]) =>
  Bun.spawn([process.execPath, join(import.meta.dir, "child.ts"), ...args], { stdout: "pipe", stderr: "inherit" });

test("a commit by another connection is visible at once, both ways", () =>
  withFile(async (file) => {
    const [one, other] = [openSqliteStore({ file }), openSqliteStore({ file })];
    for (const n of upTo(20)) {
      await one.users.insertUser(userSample(n));
      expect(await other.users.getUser(keySample(n))).not.toBeNull();
      await other.rooms.insertRoom(roomSample(n));
      expect(await one.rooms.getRoom(roomSample(n).room.roomId)).toEqual(roomSample(n).room);
      expect(await one.users.deleteUser(keySample(n))).toBe(true);
      expect(await other.users.getUser(keySample(n))).toBeNull();
    }
    one.close();
    other.close();
  }));

test(
  "a user added by another process is visible at once",
  () =>
    withFile(async (file) => {
      const store = openSqliteStore({ file });
      expect(await store.users.getUser(keySample(1))).toBeNull();
      expect(await start("add", file, "1").exited).toBe(0);
      expect(await store.users.getUser(keySample(1))).not.toBeNull();
      store.close();
    }),
  30_000,
);

test(
  "several processes can create one database at once",
  () =>
    withFile(async (file) => {
      const children = upTo(6).map((n) => start("add", file, String(n)));
      expect(await Promise.all(children.map((child) => child.exited))).toEqual([0, 0, 0, 0, 0, 0]);
      const store = openSqliteStore({ file });
      expect(await store.users.listUsers(null, 10)).toHaveLength(6);
      store.close();
    }),
  30_000,
);

/** Starts a claiming process and kills it after `claims` claims; returns the acknowledged ones. */
async function killedAfter(file: string, key: string, claims: number): Promise<string[]> {
  const child = start("claim", file, key);
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of child.stdout) {
    text += decoder.decode(chunk, { stream: true });
    if (text.split("\n").length > claims) child.kill("SIGKILL");
  }
  await child.exited;
  expect(child.signalCode).toBe("SIGKILL");
  return text.split("\n").slice(0, -1);
}

test(
  "kill -9 during claims: no invite is spent twice, and no acknowledged claim is lost",
  () =>
    withFile(async (file) => {
      const rows = upTo(6_000).map((n): SnapshotRow => ({ kind: "invite", invite: inviteSample(n) }));
      const first = openSqliteStore({ file });
      await first.snapshot.importAll(rows);
      first.close();
      const owners = new Map<string, string>();
      for (const round of upTo(3)) {
        const keys = [keySample(2 * round), keySample(2 * round + 1)];
        const acknowledged = await Promise.all(keys.map((key) => killedAfter(file, key, 150)));
        keys.forEach((key, index) => {
          for (const id of acknowledged[index] ?? []) {
            expect(owners.has(id)).toBe(false);
            owners.set(id, key);
          }
        });
      }
      expect(owners.size).toBeGreaterThanOrEqual(900);
      const store = openSqliteStore({ file });
      for (const [id, key] of owners) expect(await store.invites.getInvite(id)).toMatchObject({ usedSignPub: key });
      for (const id of owners.keys()) {
        expect(await store.invites.claimInvite(id, { signPub: keySample(99), kexPub: keySample(99), at: 2 })).toBe(
          false,
        );
      }
      store.close();
    }),
  60_000,
);
