import { Database as Native } from "bun:sqlite";
import { expect, test } from "bun:test";
import { openDatabase } from "../../../src/plugins/store-sqlite/database.ts";
import { openSqliteStore } from "../../../src/plugins/store-sqlite/store.ts";
import { userSample } from "../../conformance/store-samples.ts";
import { expectGolden } from "../../support/golden.ts";
import { thrownBy, withFile } from "./folder.ts";

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
    expect(rows).toEqual([{ id: 1, name: "0001-init", applied_at: 1234 }]);
    const beside = openDatabase({ file, log, now: () => 5678 });
    expect(recorded(beside.native)).toEqual(rows);
    first.close();
    beside.close();
    const again = openDatabase({ file, log, now: () => 9999 });
    expect(recorded(again.native)).toEqual(rows);
    again.close();
    expect(lines).toEqual(["applied migration 0001-init"]);
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
    native.run("INSERT INTO migrations VALUES (2, '0002-later', 1)");
    native.close(true);
    const thrown = await thrownBy(() => openSqliteStore({ file }));
    expect(thrown).toMatchObject({
      code: "unavailable",
      message:
        `the database ${file} belongs to a newer unibus: it has migration 2, this one knows 1 ` +
        "(start the newer one, or restore a backup)",
    });
    const after = new Native(file);
    expect(recorded(after)).toHaveLength(2);
    after.close(true);
  }));
