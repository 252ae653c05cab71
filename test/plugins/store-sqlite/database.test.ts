/**
 * The SQLite database file: durability settings, damaged and foreign files, read-only files, full disks, slow commits,
 * backups and exports. A refusal names the file and the fix, and leaves the file unchanged.
 */
import { Database as Native } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdirSync, openSync, readFileSync, statSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { isUnibusError } from "../../../src/contracts/index.ts";
import { busyTimeoutMs, lockWaitMs } from "../../../src/plugins/store-sqlite/commit-group.ts";
import { connect, databaseOver, openDatabase } from "../../../src/plugins/store-sqlite/database.ts";
import { openSqliteStore, storeOver } from "../../../src/plugins/store-sqlite/store.ts";
import { keySample, roomSample, upTo, userSample } from "../../conformance/store-samples.ts";
import { until } from "../../support/executable.ts";
import { thrownBy, withFile } from "./folder.ts";

test("power loss loses nothing: write-ahead log, synchronous FULL, and foreign keys are enforced", () =>
  withFile((file) => {
    const { native, close } = openDatabase({ file });
    const pragma = (name: string) =>
      Object.values(native.query<Record<string, unknown>, []>(`PRAGMA ${name}`).get() ?? {})[0];
    expect(pragma("journal_mode")).toBe("wal");
    expect(pragma("synchronous")).toBe(2);
    expect(pragma("foreign_keys")).toBe(1);
    expect(pragma("busy_timeout")).toBe(busyTimeoutMs);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(statSync(`${file}-wal`).mode & 0o777).toBe(0o600);
    close();
  }));

test("closing ends the connection, and removes its log", () =>
  withFile(async (file) => {
    const store = openSqliteStore({ file });
    const waiting = Promise.all(upTo(2_500).map((n) => store.users.insertUser(userSample(n))));
    store.close();
    store.close();
    await waiting;
    expect(await Bun.file(`${file}-wal`).exists()).toBe(false);
    expect(await store.health()).toEqual({ ok: false, detail: "the store is unavailable" });
    const again = openSqliteStore({ file });
    expect(await again.users.getUser(keySample(1))).not.toBeNull();
    again.close();
  }));

/** Opens a broken file and expects one sentence that names the file and the fix. */
async function refusedWith(file: string, sentence: string): Promise<void> {
  expect(await thrownBy(() => openSqliteStore({ file }))).toMatchObject({ code: "unavailable", message: sentence });
}

const damaged = (file: string) => `${file} is corrupt or not an SQLite database (stop unibus and restore a backup)`;
const unopened = (file: string) => `cannot open ${file} (use a file in a folder that exists and is writable)`;

test("a file that is not a database is refused, and left unchanged", () =>
  withFile(async (file) => {
    const text = "this is a letter, not a database\n".repeat(300);
    writeFileSync(file, text);
    await refusedWith(file, damaged(file));
    expect(readFileSync(file, "utf8")).toBe(text);
  }));

test("a damaged database is refused", () =>
  withFile(async (file) => {
    const store = openSqliteStore({ file });
    await Promise.all(upTo(500).map((n) => store.users.insertUser(userSample(n))));
    store.close();
    const { size } = statSync(file);
    truncateSync(file, size / 2);
    await refusedWith(file, damaged(file));
  }));

test("damage that is found later makes the store unavailable, and the cause names the file", () =>
  withFile(async (file) => {
    const store = openSqliteStore({ file });
    await Promise.all(upTo(500).map((n) => store.users.insertUser(userSample(n))));
    const { native, close } = openDatabase({ file });
    const root = native
      .query<{ rootpage: number }, []>("SELECT rootpage FROM sqlite_schema WHERE name = 'users'")
      .get();
    close();
    store.close();
    const handle = openSync(file, "r+");
    writeSync(handle, Buffer.alloc(4096, 0xff), 0, 4096, ((root?.rootpage ?? 1) - 1) * 4096);
    const again = openSqliteStore({ file });
    const thrown = await thrownBy(() => again.users.getUser(keySample(1)));
    expect(thrown).toMatchObject({ code: "unavailable", message: "the store is corrupt" });
    expect(isUnibusError(thrown) && thrown.cause).toMatchObject({ message: damaged(file) });
    again.close();
  }));

test("a folder in place of the file, and a file in place of the folder, are refused", () =>
  withFile(async (file) => {
    mkdirSync(file);
    await refusedWith(file, unopened(file));
    const plain = join(dirname(file), "plain");
    writeFileSync(plain, "");
    await refusedWith(join(plain, "unibus.db"), unopened(join(plain, "unibus.db")));
  }));

test("a read-only database answers reads, refuses writes, and is a health fault until it can be written", () =>
  withFile(async (file) => {
    const database = openDatabase({ file });
    const store = storeOver(database);
    await store.users.insertUser(userSample(1));
    database.native.run("PRAGMA query_only = ON");
    const thrown = await thrownBy(() => store.users.insertUser(userSample(2)));
    expect(thrown).toMatchObject({ code: "unavailable", message: "the store is read-only" });
    expect(await store.users.getUser(keySample(1))).not.toBeNull();
    const hint = "make it and its folder writable for the user that runs unibus";
    for (let looks = 0; looks < 2; looks++) {
      expect(await store.health()).toEqual({ ok: false, detail: `the store is read-only (${hint})` });
    }
    database.native.run("PRAGMA query_only = OFF");
    expect(await store.health()).toEqual({ ok: true });
    store.close();
  }));

test("a database that SQLite could only open for reading is a health fault, too", () =>
  withFile(async (file) => {
    openSqliteStore({ file }).close();
    // SQLite does this by itself where the file cannot be written. It then begins and commits without an error.
    const store = storeOver(databaseOver(new Native(file, { readonly: true, strict: true }), file));
    const thrown = await thrownBy(() => store.users.insertUser(userSample(1)));
    expect(thrown).toMatchObject({ code: "unavailable", message: "the store is read-only" });
    for (let looks = 0; looks < 2; looks++) {
      expect(await store.health()).toEqual({ ok: false, detail: expect.stringContaining("the store is read-only") });
    }
    store.close();
  }));

test("a full disk refuses what does not fit, keeps the rest, and recovers without a restart", () =>
  withFile(async (file) => {
    const database = openDatabase({ file });
    const store = storeOver(database);
    const pages = database.native.query<{ page_count: number }, []>("PRAGMA page_count").get()?.page_count ?? 0;
    database.native.run(`PRAGMA max_page_count = ${pages + 4}`);
    const stored: number[] = [];
    let thrown: unknown;
    for (const n of upTo(1_000)) {
      thrown = await store.users.insertUser(userSample(n)).catch((error: unknown) => error);
      if (thrown !== undefined) break;
      stored.push(n);
    }
    expect(thrown).toMatchObject({ code: "unavailable", message: "the store's disk is full" });
    const hint = `the disk of ${file} is full (free some space; no restart is needed)`;
    expect(isUnibusError(thrown) && thrown.cause).toMatchObject({ message: hint });
    for (const n of stored) expect(await store.users.getUser(keySample(n))).not.toBeNull();
    expect(await store.users.getUser(keySample(stored.length))).toBeNull();

    database.native.run("PRAGMA max_page_count = 100000");
    await store.users.insertUser(userSample(stored.length));
    expect(await store.health()).toEqual({ ok: true });
    store.close();
  }));

/** Watches the event loop; calling the result returns its longest stall in milliseconds. */
function watchLoop(): () => number {
  let last = performance.now();
  let longest = 0;
  const timer = setInterval(() => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  }, 1);
  return () => {
    clearInterval(timer);
    return longest;
  };
}

test(
  "while another process holds the lock, writes wait 5 s without blocking the event loop, and reads continue",
  () =>
    withFile(async (file) => {
      const store = openSqliteStore({ file });
      await store.users.insertUser(userSample(0));
      const other = new Native(file);
      other.run("BEGIN IMMEDIATE");
      const stop = watchLoop();
      const began = performance.now();
      const refused = thrownBy(() => store.users.insertUser(userSample(1)));
      const detail = "the store is busy (let it finish, or stop it)";
      await until("its health says so", async () => !(await store.health()).ok);
      expect(await store.health()).toEqual({ ok: false, detail });
      expect(await store.users.getUser(keySample(0))).not.toBeNull();
      expect(await refused).toMatchObject({ code: "unavailable", message: "the store is busy" });
      expect(performance.now() - began).toBeGreaterThan(lockWaitMs - 100);
      expect(await store.health()).toEqual({ ok: false, detail });
      // The bound is 50 ms; a busy machine adds to it, but waiting inside SQLite would take seconds.
      expect(stop()).toBeLessThan(1_000);
      const late = store.users.insertUser(userSample(2));
      // Nothing shows that it waits: this is time for several of the tries that come every 10 ms.
      await Bun.sleep(200);
      other.run("ROLLBACK");
      other.close(true);
      await late;
      expect(await store.health()).toEqual({ ok: true });
      expect(await store.users.getUser(keySample(1))).toBeNull();
      expect(await store.users.getUser(keySample(2))).not.toBeNull();
      store.close();
    }),
  30_000,
);

test("a commit that takes more than a second is a health fault until one is faster, and is logged once", () =>
  withFile(async (file) => {
    openDatabase({ file }).close();
    let [now, step] = [0, 0];
    const elapsedMs = () => {
      now += step;
      return now;
    };
    const lines: string[] = [];
    const silent = () => undefined;
    const log = { debug: silent, info: silent, warn: (line: string) => void lines.push(line), error: silent };
    const store = storeOver(databaseOver(connect(file), file, { log, elapsedMs }));
    await store.users.insertUser(userSample(1));
    expect(await store.health()).toEqual({ ok: true });
    step = 1_200;
    await store.users.insertUser(userSample(2));
    await store.users.insertUser(userSample(3));
    expect(await store.health()).toMatchObject({
      ok: false,
      detail: expect.stringContaining("took 1.2 s (check the disk"),
    });
    expect(lines).toEqual(["a commit took 1200 ms"]);
    step = 0;
    expect(await store.health()).toEqual({ ok: true });
    store.close();
  }));

test("a backup is a complete database", () =>
  withFile(async (file) => {
    const store = openSqliteStore({ file });
    await Promise.all(upTo(50).map((n) => store.users.insertUser(userSample(n))));
    const copy = `${file}.copy`;
    await store.snapshot.backup(copy);
    const thrown = await thrownBy(() => store.snapshot.backup(join(dirname(file), "nowhere", "copy")));
    expect(thrown).toMatchObject({ code: "unavailable" });
    const opened = openSqliteStore({ file: copy });
    const rows = await Array.fromAsync(opened.snapshot.exportAll());
    expect(rows).toEqual(await Array.fromAsync(store.snapshot.exportAll()));
    expect(statSync(copy).mode & 0o777).toBe(0o600);
    opened.close();
    store.close();
  }));

test("an export is a consistent snapshot, even during writes", () =>
  withFile(async (file) => {
    const store = openSqliteStore({ file });
    for (const n of upTo(3)) await store.users.insertUser(userSample(n));
    const seen: string[] = [];
    for await (const row of store.snapshot.exportAll()) {
      seen.push(row.kind === "user" ? row.user.signPub : row.kind);
      await store.rooms.insertRoom(roomSample(seen.length));
      await store.users.insertUser(userSample(100 + seen.length));
      await store.users.deleteUser(keySample(0));
    }
    expect(seen).toEqual(upTo(3).map(keySample).sort());
    store.close();
  }));
