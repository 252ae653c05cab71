/**
 * Backups by the executable: a backup is complete, readable by its owner only, works for both stores, and never
 * overwrites data. A restore refuses damaged files and non-empty stores, and can complete an interrupted restore.
 */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { cpSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import { executable, Folder, Server, unibus, until } from "../support/executable.ts";
import { addUser } from "../support/peer.ts";
import { fillDatabase, rowsIn, rowsOf } from "../support/stored.ts";

const keyValue = ["--flag", "decentralized=on"];
const backup = (folder: Folder, data: string, out: string, ...args: string[]) =>
  unibus(folder, ["backup", "--data", data, "--out", out, ...args]);
/** Restores a backup after which nothing was denied. */
const restore = (folder: Folder, data: string, file: string, ...args: string[]) => {
  writeFileSync(folder.file("no-denials"), "");
  return unibus(folder, ["restore", "--data", data, file, "--denials", "no-denials", "--yes", ...args]);
};

/** Fills a data directory in a folder and makes a backup of it. */
async function backUp(folder: Folder, users?: number): Promise<void> {
  await fillDatabase(folder, "data", users);
  expect((await backup(folder, "data", "b.jsonl")).code).toBe(0);
}

const usual = new Folder();
beforeAll(() => backUp(usual), 60_000);
afterAll(() => usual[Symbol.dispose]());

/** A folder with a filled data directory and a backup of it: a copy of the usual ones, or with many users. */
async function backedUp(users?: number): Promise<{ folder: Folder; file: string; rows: string[] }> {
  const folder = new Folder();
  if (users === undefined) cpSync(usual.path, folder.path, { recursive: true, preserveTimestamps: true });
  else await backUp(folder, users);
  const file = folder.file("b.jsonl");
  return { folder, file, rows: rowsIn(file) };
}

/** The number of users in a database that another process may be writing; 0 while it has no such table. */
function usersIn(file: string): number {
  if (!existsSync(file)) return 0;
  try {
    using database = new Database(file, { readonly: true });
    return database.query<{ count: number }, []>("SELECT count(*) AS count FROM users").get()?.count ?? 0;
  } catch {
    return 0;
  }
}

describe("a backup", () => {
  test("reports its contents, is readable by its owner only, and never overwrites a file", async () => {
    const { folder, file, rows } = await backedUp();
    using _ = folder;
    expect(rows).toHaveLength(44);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder.path).sort()).toEqual(["b.jsonl", "data"]);
    const text = readFileSync(file, "utf8");
    const head = text.slice(0, text.trimEnd().lastIndexOf("\n") + 1);
    const sha256 = createHash("sha256").update(head).digest("hex");
    expect(JSON.parse(text.slice(head.length))).toEqual({ end: { rows: 44, sha256 } });
    expect(JSON.parse(text.split("\n")[0] ?? "")).toMatchObject({ format: "unibus-backup", version: 1 });

    const again = await backup(folder, "data", "b.jsonl");
    expect([again.code, again.stdout, readFileSync(file, "utf8")]).toEqual([1, "", text]);
    expect(again.stderr).toBe("error: b.jsonl exists (it is never overwritten: name another file)\n");
    const { stdout } = await backup(folder, "data", "c.jsonl", "--json");
    expect(JSON.parse(stdout)).toMatchObject({ file: "c.jsonl", users: 10, invites: 3, rooms: 6, rows: 44 });
    expect((await backup(folder, "data", "no/such/b.jsonl")).stderr).toMatch(
      /^error: no\/such\/b\.jsonl cannot be written/,
    );
    expect((await backup(folder, "nowhere", "d.jsonl")).stderr).toContain("there is no bus in nowhere");
    expect((await unibus(folder, ["backup", "--help"])).stdout).toMatch(/no private key and no\s+message/);
  });

  test("restores from either store into the other with the same contents", async () => {
    const { folder, rows } = await backedUp();
    using _ = folder;
    expect(await restore(folder, "kv", "b.jsonl", ...keyValue)).toMatchObject({ code: 0 });
    expect(await rowsOf(folder, "kv", ...keyValue)).toEqual(rows);
    expect(await backup(folder, "kv", "kv.jsonl", ...keyValue)).toMatchObject({ code: 0 });
    expect(await restore(folder, "sqlite", "kv.jsonl")).toMatchObject({ code: 0 });
    expect(await rowsOf(folder, "sqlite")).toEqual(rows);
  }, 60_000);

  test("can be made while the server runs, and a restored user may log in", async () => {
    using folder = new Folder();
    await using server = await Server.start({ folder });
    const ana = await addUser(server, "ana", { admin: true });
    expect((await backup(folder, "data", "b.jsonl")).code).toBe(0);
    expect((await restore(folder, "other", "b.jsonl")).code).toBe(0);
    const { stdout } = await unibus(folder, ["user", "list", "--data", "other", "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({ users: [{ handle: "ana", role: "admin", sign_pub: ana.signPubHex }] });
  });
});

describe("a restore", () => {
  test("refuses a truncated, modified or invalid file, and then writes nothing", async () => {
    const { folder, file } = await backedUp();
    using _ = folder;
    const text = readFileSync(file, "utf8");
    const lines = text.trimEnd().split("\n");
    const wrong: Record<string, [content: string, said: string]> = {
      cut: [text.slice(0, text.length / 2), "is not a JSON object"],
      truncated: [`${lines.slice(0, -1).join("\n")}\n`, "it is truncated: its end line is missing"],
      "without a row": [`${lines.toSpliced(5, 1).join("\n")}\n`, "its end line says 44 rows, but it has 43"],
      changed: [
        text.replace('"role":"member"', '"role":"admin"'),
        "its content does not match the hash in its end line",
      ],
      "with an extra row": [`${text}{}\n`, "lines follow its end line"],
      newer: [text.replace('"version":1', '"version":2'), "has format version 2"],
      other: ["SQLite format 3\n", "line 1 is not a JSON object"],
      "that is not a backup": ['{"a":1}\n', "is not a unibus backup"],
      empty: ["", "it is truncated"],
    };
    for (const [name, [content, said]] of Object.entries(wrong)) {
      writeFileSync(folder.file("wrong.jsonl"), content);
      const done = await restore(folder, "fresh", "wrong.jsonl");
      expect([name, done.code, done.stdout]).toEqual([name, 1, ""]);
      expect(done.stderr).toContain(said);
      expect(existsSync(folder.file("fresh"))).toBe(false);
    }
    expect((await restore(folder, "fresh", "missing.jsonl")).stderr).toContain("no such file: missing.jsonl");
    expect((await restore(folder, "fresh", ".")).stderr).toStartWith("error: . is a folder (");
    expect((await restore(folder, "fresh", "/dev/null")).stderr).toStartWith(
      "error: /dev/null is not a regular file (",
    );
    expect(existsSync(folder.file("fresh"))).toBe(false);
  });

  for (const [store, ...flags] of [["sqlite"], ["kv", ...keyValue]] as const) {
    test(`works with an empty store only: the contents of a store of ${store} stay unchanged`, async () => {
      const { folder } = await backedUp();
      using _ = folder;
      const key = (await generateIdentity()).signPubHex;
      expect((await unibus(folder, ["user", "add", "zoe", "--sign-pub", key, "--data", "used", ...flags])).code).toBe(
        0,
      );
      const before = await rowsOf(folder, "used", ...flags);
      const done = await restore(folder, "used", "b.jsonl", ...flags);
      expect([done.code, done.stdout]).toEqual([1, ""]);
      expect(done.stderr).toContain(
        `error: the store is not empty: it contains user ${key}, which the backup does not`,
      );
      expect(await rowsOf(folder, "used", ...flags)).toEqual(before);
    }, 60_000);

    test(`into a running, unused server of ${store} voids the first admin's link`, async () => {
      const { folder, rows } = await backedUp();
      using _ = folder;
      using target = new Folder();
      await using server = await Server.start({ folder: target, args: [...flags] });
      expect(existsSync(target.file("data", "admin-link"))).toBe(true);
      const done = await restore(folder, server.data, "b.jsonl");
      expect([done.code, done.stderr]).toEqual([0, expect.stringContaining("is void: it was for the first admin")]);
      expect(await rowsOf(folder, server.data)).toEqual(rows);
    }, 60_000);
  }

  test("of a backup of 0.1.0, whose rows have fewer fields, counts its members as accepted", async () => {
    const { folder, file } = await backedUp();
    using _ = folder;
    const [header = "", ...rest] = readFileSync(file, "utf8").trimEnd().split("\n");
    const fewer = (name: string, value: unknown) =>
      ["acceptedAt", "addedBy", "chargedTo"].includes(name) ? undefined : value;
    const rows = rest.slice(0, -1).map((line) => JSON.stringify(JSON.parse(line, fewer)));
    const text = [header, ...rows].map((line) => `${line}\n`).join("");
    const sha256 = createHash("sha256").update(text).digest("hex");
    writeFileSync(folder.file("old.jsonl"), `${text}${JSON.stringify({ end: { rows: rows.length, sha256 } })}\n`);
    for (const flags of [[], keyValue]) {
      const data = `old-${flags.length}`;
      expect(await restore(folder, data, "old.jsonl", ...flags)).toMatchObject({ code: 0 });
      const made = (await rowsOf(folder, data, ...flags)).map((line) => JSON.parse(line));
      const stays = made.flatMap(({ stay }) => (stay === undefined ? [] : [stay]));
      expect(stays.length).toBeGreaterThan(5);
      expect(stays.filter(({ acceptedAt }) => !(acceptedAt > 0))).toEqual([]);
      expect(made.filter(({ key }) => key !== undefined && !/^[A-Za-z0-9_-]{43}$/.test(key.chargedTo))).toEqual([]);
    }
  }, 60_000);

  test("that was killed halfway is completed by the next one from the same file, and from no other", async () => {
    const { folder, rows } = await backedUp(6_000);
    using _ = folder;
    writeFileSync(folder.file("no-denials"), "");
    const command = ["restore", "--data", "fresh", "b.jsonl", "--denials", "no-denials", "--yes"];
    const child = Bun.spawn([executable, ...command], {
      cwd: folder.path,
      ...{ stdin: "ignore", stdout: "ignore", stderr: "ignore" },
    });
    await until("some rows are written", () => usersIn(folder.file("fresh", "unibus.db")) > 0);
    child.kill("SIGKILL");
    await child.exited;
    const half = await rowsOf(folder, "fresh");
    expect(half.length).toBeGreaterThan(0);
    expect(half.length).toBeLessThan(rows.length);
    await fillDatabase(folder, "small", 3);
    expect((await backup(folder, "small", "small.jsonl")).code).toBe(0);
    expect((await restore(folder, "fresh", "small.jsonl")).stderr).toContain("the store is not empty");
    expect(await rowsOf(folder, "fresh")).toEqual(half);
    expect((await restore(folder, "fresh", "b.jsonl")).code).toBe(0);
    expect(await rowsOf(folder, "fresh")).toEqual(rows);
    expect((await restore(folder, "fresh", "b.jsonl")).code).toBe(0);
  }, 60_000);
});
