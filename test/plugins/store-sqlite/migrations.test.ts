/**
 * Schema migrations of the SQLite store: the schema is frozen, each migration runs and is recorded once, data of older
 * versions is upgraded, and a newer database is refused unchanged.
 */
import { Database as Native } from "bun:sqlite";
import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { rowBytes } from "../../../src/contracts/rows.ts";
import { openDatabase } from "../../../src/plugins/store-sqlite/database.ts";
import { openSqliteStore } from "../../../src/plugins/store-sqlite/store.ts";
import { activeUsersSql } from "../../../src/plugins/store-sqlite/users.ts";
import { looksOf } from "../../../src/wire/looks.ts";
import { expectedCharges } from "../../conformance/store-charges.ts";
import {
  changeOf,
  keySample,
  peer,
  roomIdSample,
  roomSample,
  sealedSample,
  statementSample,
  staySample,
  userSample,
} from "../../conformance/store-samples.ts";
import { expectGolden } from "../../support/golden.ts";
import { thrownBy, withFile } from "./folder.ts";

/** The migrations of this version, in order. */
const known = readdirSync(join(import.meta.dir, "../../../src/plugins/store-sqlite/migrations"))
  .flatMap((name) => (name.endsWith(".sql") ? [name.slice(0, -".sql".length)] : []))
  .sort();

const recorded = (native: Native) => native.query("SELECT id, name, applied_at FROM migrations ORDER BY id").all();

test("the schema is the frozen one", () =>
  withFile((file) => {
    const { native, close } = openDatabase({ file });
    const rows = native.query<{ sql: string }, []>(
      "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY tbl_name, type DESC, name",
    );
    const text = rows.all().map(({ sql }) => `${sql};\n`);
    close();
    expectGolden("sqlite-schema.sql", text.join("\n"));
  }));

test("a migration is recorded with its name and time, once", () =>
  withFile((file) => {
    const lines: string[] = [];
    const log = { debug: (line: string) => lines.push(line), info() {}, warn() {}, error() {} };
    const first = openDatabase({ file, log, now: () => 1234 });
    const rows = recorded(first.native);
    expect(rows).toEqual(known.map((name, index) => ({ id: index + 1, name, applied_at: 1234 })));
    const beside = openDatabase({ file, log, now: () => 5678 });
    expect(recorded(beside.native)).toEqual(rows);
    first.close();
    beside.close();
    const again = openDatabase({ file, log, now: () => 9999 });
    expect(recorded(again.native)).toEqual(rows);
    again.close();
    expect(lines).toEqual(known.map((name) => `applied migration ${name}`));
  }));

test("the contents of a database survive reopening", () =>
  withFile(async (file) => {
    const first = openSqliteStore({ file });
    await first.users.insertUser(userSample(1));
    first.close();
    const again = openSqliteStore({ file });
    expect(await again.users.getUser(userSample(1).signPub)).toMatchObject({ handle: userSample(1).handle });
    again.close();
  }));

test("a database of a newer version is refused, and left unchanged", () =>
  withFile(async (file) => {
    openDatabase({ file }).close();
    const native = new Native(file);
    const later = known.length + 1;
    native.run(`INSERT INTO migrations VALUES (${later}, '9999-later', 1)`);
    native.close(true);
    const thrown = await thrownBy(() => openSqliteStore({ file }));
    expect(thrown).toMatchObject({
      code: "unavailable",
      message:
        `the database ${file} is from a newer unibus: it has migration ${later}, this version knows ${known.length} ` +
        "(start that version, or restore a backup)",
    });
    const after = new Native(file);
    expect(recorded(after)).toHaveLength(later);
    after.close(true);
  }));

test("users stored without a look, or with that of another version, are found by their look", () =>
  withFile(async (file) => {
    const first = openSqliteStore({ file });
    for (const [n, handle] of ["bob", "b0b", "carol"].entries())
      await first.users.insertUser(userSample(n, { handle }));
    first.close();
    const native = new Native(file);
    native.run("UPDATE users SET look1 = '', look2 = '', looks_version = '' WHERE handle <> 'carol'");
    native.run("UPDATE users SET look1 = 'bob', look2 = 'bob', looks_version = '5.0.0-1' WHERE handle = 'carol'");
    native.close(true);
    const again = openSqliteStore({ file });
    const found = async (handle: string) =>
      (await again.users.listActive({ looks: looksOf(handle), after: null, limit: 10 }))
        .map((user) => user.handle)
        .sort();
    expect(await found("BOB")).toEqual(["b0b", "bob"]);
    expect(await found("Carol")).toEqual(["carol"]);
    again.close();
  }));

test("existing rows are charged once: to their signers, and the keys of an epoch to the signer who began it", () =>
  withFile(async (file) => {
    const first = openSqliteStore({ file });
    const { rooms } = first;
    const text = (epoch: number) => `unibus-room-v1\nROOM\n1\n0\nroom.x\n000\n${epoch}\ncheck\nowners\nmembers`;
    const made = roomSample(1);
    const signed = (version: number, epoch: number, n: number) => ({
      ...statementSample(made.room.roomId, version),
      ...{ text: text(epoch), by: keySample(n) },
    });
    await rooms.insertRoom({ ...made, statement: signed(1, 1, 1) });
    const steps = [
      { stays: [staySample(2, { role: "owner" }), staySample(3)], keys: [2, 3].map((n) => sealedSample(n, 1)), by: 1 },
      { stays: [staySample(4)], keys: [sealedSample(4, 1)], by: 2 },
      { rekey: true, stays: [], keys: [1, 2, 3, 4].map((n) => sealedSample(n, 2)), by: 2 },
    ];
    for (const { by, ...parts } of steps) {
      const room = await rooms.getRoom(made.room.roomId);
      if (room === null) throw new Error("no room");
      const change = changeOf(room, parts);
      await rooms.applyChange({ ...change, statement: signed(change.room.version, change.room.epoch, by) });
    }
    await rooms.insertRoom(roomSample(2, { creator: peer(5) }));
    await rooms.markDeleted(roomIdSample(2), 5);
    await rooms.purgeRoom(roomIdSample(2));
    first.close();

    const native = new Native(file);
    const triggers = native.query<{ name: string }, []>("SELECT name FROM sqlite_schema WHERE type = 'trigger'").all();
    for (const { name } of triggers) native.run(`DROP TRIGGER ${name}`);
    native.run("DROP TABLE row_charges");
    for (const table of ["statements", "sealed_keys"]) native.run(`ALTER TABLE ${table} DROP COLUMN charged_to`);
    native.run("UPDATE stays SET added_by = NULL");
    native.run("ALTER TABLE rooms DROP COLUMN revision");
    native.run("DELETE FROM migrations WHERE name >= '0005'");
    native.close(true);

    const again = openSqliteStore({ file });
    const keyOf = async (n: number, epoch: number) =>
      (await again.rooms.getSealedKey(roomIdSample(1), peer(n), epoch))?.chargedTo;
    expect(await Promise.all([keyOf(2, 1), keyOf(4, 1), keyOf(1, 2)])).toEqual([peer(1), peer(1), peer(2)]);
    expect(await again.rooms.getRoom(roomIdSample(1))).toMatchObject({ version: 4, revision: 4 });
    const expected = await expectedCharges(again);
    for (const n of [1, 2, 3, 5])
      expect([n, await again.rooms.rowBytesOf(peer(n))]).toEqual([n, expected.get(peer(n)) ?? 0]);
    expect(expected.get(peer(5))).toBe(rowBytes.room);
    expect(expected.get(peer(2))).toBe(4 * rowBytes.key + 2 * rowBytes.statement + text(1).length * 2);
    again.close();
  }));

test("users are looked up by an index: by their look or by their endpoint", () =>
  withFile((file) => {
    const { native, close } = openDatabase({ file });
    const plan = (sql: string) =>
      native
        .query<{ detail: string }, []>(`EXPLAIN QUERY PLAN ${sql}`)
        .all()
        .map(({ detail }) => detail)
        .join("; ");
    const byLooks = plan(`${activeUsersSql.byLooks.replaceAll("?", "'1'")}`);
    expect(byLooks).toContain("users_by_look1");
    expect(byLooks).toContain("users_by_look2");
    expect(plan(activeUsersSql.all.replaceAll("?", "'1'"))).toMatch(/SEARCH users USING INDEX \S+ \(endpoint>\?\)/);
    close();
  }));
