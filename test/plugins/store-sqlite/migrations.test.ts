import { Database as Native } from "bun:sqlite";
import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { openDatabase } from "../../../src/plugins/store-sqlite/database.ts";
import { openSqliteStore } from "../../../src/plugins/store-sqlite/store.ts";
import { activeUsersSql } from "../../../src/plugins/store-sqlite/users.ts";
import { looksOf } from "../../../src/wire/looks.ts";
import { userSample } from "../../conformance/store-samples.ts";
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
    const log = { debug() {}, info: (line: string) => lines.push(line), warn() {}, error() {} };
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

test("what a database holds survives its next opening", () =>
  withFile(async (file) => {
    const first = openSqliteStore({ file });
    await first.users.insertUser(userSample(1));
    first.close();
    const again = openSqliteStore({ file });
    expect(await again.users.getUser(userSample(1).signPub)).toMatchObject({ handle: userSample(1).handle });
    again.close();
  }));

test("a database of a newer version is refused, and left as it is", () =>
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
        `the database ${file} belongs to a newer unibus: it has migration ${later}, this one knows ${known.length} ` +
        "(start the newer one, or restore a backup)",
    });
    const after = new Native(file);
    expect(recorded(after)).toHaveLength(later);
    after.close(true);
  }));

test("users of a database without looks, or with those of another version, are found by them", () =>
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

test("users are looked up by an index: of their looks, or of their endpoints", () =>
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
