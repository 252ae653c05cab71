/**
 * `migrate-to-kv` and `migrate-to-sqlite`, with the executable alone. Both stores must hold the same data
 * after each run, also after a kill in the middle; a target with newer data is refused.
 */
import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { cpSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { openSqliteStore } from "../../src/plugins/store-sqlite/store.ts";
import { keySample } from "../conformance/store-samples.ts";
import { Authority } from "../support/certificates.ts";
import { Cluster } from "../support/cluster.ts";
import { type Done, executable, Folder, Server, unibus, until } from "../support/executable.ts";
import { castOf } from "../support/inside.ts";
import {
  addMembers,
  at,
  call,
  createRoom,
  dial,
  history,
  kick,
  type OwnRoom,
  policy,
  postUser,
  send,
  signedHeaders,
} from "../support/peer.ts";
import { fillDatabase, rowsOf } from "../support/stored.ts";

const keyValue = ["--flag", "decentralized=on"];
const toKv = (folder: Folder, ...args: string[]): Promise<Done> =>
  unibus(folder, ["migrate-to-kv", "--data", "data", "--db", "data/unibus.db", "--json", ...args]);
const toSqlite = (folder: Folder, db: string, ...args: string[]): Promise<Done> =>
  unibus(folder, ["migrate-to-sqlite", "--data", "data", "--db", db, "--json", ...args]);
/** The rows of a database file. */
async function rowsOfFile(folder: Folder, path: string): Promise<string[]> {
  const config = { file: basename(path) };
  writeFileSync(folder.file("file.json"), JSON.stringify({ plugins: [{ use: "store-sqlite", config }] }));
  return rowsOf(folder, dirname(path), "--plugins", "file.json");
}

/** Starts a command and kills it once a condition holds. */
async function killed(folder: Folder, args: readonly string[], when: () => boolean): Promise<void> {
  const child = Bun.spawn([executable, ...args], {
    cwd: folder.path,
    ...{ stdin: "ignore", stdout: "ignore", stderr: "ignore" },
  });
  await until("it is in the middle", when);
  child.kill("SIGKILL");
  expect(await child.exited).not.toBe(0);
}

const sizeOf = (file: string): number => (existsSync(file) ? statSync(file).size : 0);

/** Total size of the files below a folder, in bytes. */
function bytesBelow(folder: string): number {
  if (!existsSync(folder)) return 0;
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .reduce((sum, { parentPath, name }) => sum + sizeOf(join(parentPath, name)), 0);
}

describe("a database", () => {
  test("is copied to the buckets, twice, and back: equal each time, with a copy of it before", async () => {
    using folder = new Folder();
    await fillDatabase(folder, "data", 600);
    const rows = await rowsOf(folder, "data");
    const dry = await toKv(folder, "--dry-run");
    expect(JSON.parse(dry.stdout)).toMatchObject({ rows: rows.length, rooms: 6, blobs: 0, written: false });
    expect(existsSync(folder.file("data", "nats", "store"))).toBe(false);

    const first = await toKv(folder);
    expect(first).toMatchObject({ code: 0 });
    const said = JSON.parse(first.stdout) as { backup: string };
    expect(said).toMatchObject({ users: 600, invites: 3, rooms: 6, rows: rows.length, differences: 0, equal: true });
    expect(statSync(said.backup).mode & 0o777).toBe(0o600);
    expect(await rowsOfFile(folder, said.backup)).toEqual(rows);
    expect(await rowsOf(folder, "data", ...keyValue)).toEqual(rows);

    const files = readdirSync(folder.file("data")).length;
    const second = await toKv(folder, "--no-backup");
    expect(JSON.parse(second.stdout)).toMatchObject({ rows: rows.length, differences: 0, equal: true });
    expect(readdirSync(folder.file("data"))).toHaveLength(files);
    expect(await rowsOf(folder, "data", ...keyValue)).toEqual(rows);

    const back = await toSqlite(folder, "back.db");
    expect(JSON.parse(back.stdout)).toMatchObject({ rows: rows.length, differences: 0, equal: true });
    expect(await rowsOfFile(folder, "back.db")).toEqual(rows);
    expect(readdirSync(folder.path).filter((name) => name.includes("part"))).toEqual([]);
    const { size, mtimeMs } = statSync(folder.file("back.db"));
    const again = await toSqlite(folder, "back.db");
    expect([again.code, again.stderr]).toEqual([1, expect.stringContaining("back.db exists (it is never")]);
    expect(statSync(folder.file("back.db"))).toMatchObject({ size, mtimeMs });
  }, 120_000);

  test("whose migration was killed, in either direction, is equal after the next run", async () => {
    using folder = new Folder();
    await fillDatabase(folder, "data", 1_500);
    const rows = await rowsOf(folder, "data");
    const bucket = folder.file("data", "nats", "store", "jetstream", "CTL", "streams", "KV_UNIBUS_users");
    for (const part of [80_000, 350_000]) {
      const args = ["migrate-to-kv", "--data", "data", "--db", "data/unibus.db", "--no-backup"];
      await killed(folder, args, () => bytesBelow(bucket) > part);
      expect((await rowsOf(folder, "data", ...keyValue)).length).toBeLessThan(rows.length);
    }
    expect(JSON.parse((await toKv(folder, "--no-backup")).stdout)).toMatchObject({ differences: 0, equal: true });
    expect(await rowsOf(folder, "data", ...keyValue)).toEqual(rows);

    const args = ["migrate-to-sqlite", "--data", "data", "--db", "back.db"];
    await killed(folder, args, () => sizeOf(folder.file("back.db.part-wal")) > 150_000);
    expect(existsSync(folder.file("back.db"))).toBe(false);
    expect(JSON.parse((await toSqlite(folder, "back.db")).stdout)).toMatchObject({ differences: 0, equal: true });
    expect(await rowsOfFile(folder, "back.db")).toEqual(rows);
  }, 120_000);

  test("does not overwrite later changes in the buckets: a newer target is refused", async () => {
    using folder = new Folder();
    await fillDatabase(folder, "data");
    expect((await toKv(folder, "--no-backup")).code).toBe(0);
    const victim = keySample(5);
    expect((await unibus(folder, ["user", "revoke", victim, "--data", "data", ...keyValue])).code).toBe(0);
    const rows = await rowsOf(folder, "data", ...keyValue);
    const done = await toKv(folder, "--no-backup");
    expect([done.code, done.stdout]).toEqual([1, ""]);
    expect(done.stderr).toContain(`user ${victim} is newer than in the source\n`);
    expect(done.stderr).toContain("the target has 1 rows that the copy would overwrite with older ones");
    expect(await rowsOf(folder, "data", ...keyValue)).toEqual(rows);
  }, 60_000);

  test("whose users changed since the last run is brought up to date by the next one", async () => {
    using folder = new Folder();
    await fillDatabase(folder, "data");
    expect((await toKv(folder, "--no-backup")).code).toBe(0);
    expect((await unibus(folder, ["user", "revoke", keySample(5), "--data", "data"])).code).toBe(0);
    expect(JSON.parse((await toKv(folder, "--no-backup")).stdout)).toMatchObject({ differences: 0, equal: true });
    expect(await rowsOf(folder, "data", ...keyValue)).toEqual(await rowsOf(folder, "data"));
  }, 60_000);
});

describe("a target given by its address", () => {
  test("can be one of a running cluster's nodes, over loopback", async () => {
    using folder = new Folder();
    using elsewhere = new Folder();
    await fillDatabase(folder, "data");
    const rows = await rowsOf(folder, "data");
    await using server = await Server.start({ folder: elsewhere, args: keyValue });
    const args = ["--no-backup", "--nats-url", server.ready.nats];
    const stranger = await toKv(folder, ...args);
    expect([stranger.code, stranger.stderr]).toEqual([
      1,
      expect.stringContaining("internal.json, which contains the credentials for that bus"),
    ]);
    cpSync(join(server.data, "internal.json"), folder.file("node", "internal.json"));
    const done = await toKv(folder, ...args, "--data", "node");
    expect(done).toMatchObject({ code: 0, stderr: expect.stringContaining("void: it was for the first admin") });
    expect(JSON.parse(done.stdout)).toMatchObject({ rows: rows.length, equal: true });
    expect(await rowsOf(elsewhere, "data")).toEqual(rows);
    const back = await toSqlite(folder, "back.db", "--nats-url", server.ready.nats, "--data", "node");
    expect(JSON.parse(back.stdout)).toMatchObject({ equal: true });
    expect(await rowsOfFile(folder, "back.db")).toEqual(await rowsOf(elsewhere, "data"));
  }, 60_000);

  test("beyond this machine needs a certificate authority, and TLS that it vouches for", async () => {
    using folder = new Folder();
    using elsewhere = new Folder();
    using right = new Authority();
    using wrong = new Authority();
    await fillDatabase(folder, "data");
    const { cert, key } = right.issue("node");
    const tls = [`nats-embedded.tls_cert=${cert}`, `nats-embedded.tls_key=${key}`].flatMap((one) => ["--set", one]);
    await using server = await Server.start({ folder: elsewhere, args: [...keyValue, ...tls] });
    cpSync(join(server.data, "internal.json"), folder.file("node", "internal.json"));
    const to = (url: string, ...more: string[]) =>
      toKv(folder, "--no-backup", "--data", "node", "--nats-url", url, ...more);
    for (const url of ["nats://192.0.2.7:4222", "tls://bus.example.org:4222"]) {
      const done = await to(url);
      expect([done.code, JSON.parse(done.stderr).error]).toEqual([
        1,
        `${url} is on another machine, so TLS is required (name its certificate authority with --ca)`,
      ]);
    }
    expect((await to(server.ready.nats, "--ca", wrong.file)).code).toBe(1);
    expect(await rowsOf(elsewhere, "data")).toHaveLength(1);
    expect(await to(server.ready.nats, "--ca", right.file)).toMatchObject({ code: 0 });
    await using plain = await Server.start({ args: keyValue });
    expect((await to(plain.ready.nats, "--ca", right.file)).code).toBe(1);
  }, 60_000);

  test("is refused in one line if it is missing or not a URL, and so is a missing database", async () => {
    using folder = new Folder();
    await fillDatabase(folder, "data");
    const refused = {
      "--db none.db": "no such database: none.db (name it with --db)",
      "--nats-url http://127.0.0.1:1": "http://127.0.0.1:1 is not a NATS URL (for example nats://127.0.0.1:",
      "--data nowhere": "there is no bus in nowhere (name its data directory with --data, or start a new bus there",
    };
    for (const [args, said] of Object.entries(refused)) {
      const { code, stdout, stderr } = await toKv(folder, "--no-backup", ...args.split(" "));
      expect([code, stdout, stderr.split("\n").length]).toEqual([1, "", 2]);
      expect(JSON.parse(stderr)).toMatchObject({ error: expect.stringContaining(said) });
    }
    expect((await toKv(folder, "--replicas", "6")).code).toBe(2);
  });
});

test("a running cluster imports a database, at any node, with as many replicas as configured", async () => {
  using folder = new Folder();
  await fillDatabase(folder, "data", 200);
  await using cluster = await Cluster.start();
  const done = await toKv(folder, "--no-backup", "--data", cluster.node(1).data);
  expect(done).toMatchObject({ code: 0 });
  const rows = await rowsOf(folder, "data");
  for (const { data } of cluster.nodes) expect(await rowsOf(folder, data)).toEqual(rows);
}, 60_000);

const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

async function postBlob(server: Server, who: Parameters<typeof signedHeaders>[0], body: Uint8Array<ArrayBuffer>) {
  const url = server.ready.http;
  const headers = signedHeaders(who, { url, method: "POST", target: "/blobs", body });
  return (await send(`${url}/blobs`, { method: "POST", headers, body })).status;
}

async function getBlob(server: Server, who: Parameters<typeof signedHeaders>[0], hash: string) {
  const [url, target] = [server.ready.http, `/blobs/${hash}`];
  const reply = await fetch(`${url}${target}`, { headers: signedHeaders(who, { url, method: "GET", target }) });
  return { status: reply.status, hash: hashOf(await reply.bytes()) };
}

test("a server is migrated to the buckets and back with its rooms, users, history and blobs", async () => {
  using folder = new Folder();
  const say = async (server: Server, who: Parameters<typeof dial>[1], room: OwnRoom, text: string) => {
    const connection = await dial(server, who);
    await connection.request(room.state.subject, text);
    await connection.close();
  };
  const said = async (server: Server, who: Parameters<typeof dial>[1], room: OwnRoom) =>
    (await history(server, who, room)).map(String);
  const blob = crypto.getRandomValues(new Uint8Array(60_000));
  const large = new Uint8Array(5_000_000).fill(9);
  let room: OwnRoom;
  let people: Awaited<ReturnType<typeof castOf<"ana" | "bob" | "eve">>>;
  {
    await using server = await Server.start({ folder });
    people = await castOf(server, "ana", "bob", "eve");
    room = await createRoom(server, people.ana, policy("encrypt", "persist"));
    room = await addMembers(server, room, people.bob, people.eve);
    await say(server, people.ana, room, "one");
    room = await kick(server, room, people.eve, people.ana, people.bob);
    for (const bytes of [blob, large]) expect(await postBlob(server, people.bob, bytes)).toBe(201);
  }
  const moved = JSON.parse((await toKv(folder)).stdout) as object;
  expect(moved).toMatchObject({ users: 4, rooms: 1, blobs: 2, blob_bytes: 5_060_000, equal: true });
  {
    await using server = await Server.start({ folder, args: keyValue });
    expect(await said(server, people.bob, room)).toEqual(["one"]);
    expect((await call(server.ready.http, people.eve, "GET", at(room))).status).toBe(403);
    expect((await call(server.ready.http, people.bob, "GET", at(room, "/key"))).status).toBe(200);
    await say(server, people.bob, room, "two");
    for (const bytes of [blob, large]) {
      expect(await getBlob(server, people.ana, hashOf(bytes))).toEqual({ status: 200, hash: hashOf(bytes) });
      expect(await postBlob(server, people.ana, bytes)).toBe(200);
    }
    expect(await postBlob(server, people.ana, new Uint8Array(100).fill(1))).toBe(201);
    await postUser(server, people.admin, "dee");
  }
  const back = JSON.parse((await toSqlite(folder, "data/back.db")).stdout) as object;
  expect(back).toMatchObject({ users: 5, rooms: 1, blobs: 3, equal: true });
  await using server = await Server.start({ folder, args: ["--set", "store-sqlite.file=back.db"] });
  expect(await said(server, people.ana, room)).toEqual(["one", "two"]);
  expect((await call(server.ready.http, people.eve, "GET", at(room))).status).toBe(403);
  expect(await getBlob(server, people.bob, hashOf(new Uint8Array(100).fill(1)))).toMatchObject({ status: 200 });
  await say(server, people.bob, room, "three");
  expect(await said(server, people.ana, room)).toEqual(["one", "two", "three"]);
}, 120_000);

test("a blob that does not match its name is reported and skipped, and the rest is copied", async () => {
  using folder = new Folder();
  const bytes = [1, 2, 3].map((fill) => new Uint8Array(1_000).fill(fill));
  {
    await using server = await Server.start({ folder });
    const { ana } = await castOf(server, "ana");
    for (const one of bytes) expect(await postBlob(server, ana, one)).toBe(201);
  }
  const bad = hashOf(bytes[1] ?? new Uint8Array());
  writeFileSync(folder.file("data", "blobs", "by-hash", bad.slice(0, 2), bad), "other");
  const done = await toKv(folder, "--no-backup");
  expect(done.code).toBe(1);
  expect(done.stderr).toContain(`blob ${bad}: its content does not match its hash\n`);
  expect(JSON.parse(done.stdout)).toMatchObject({ blobs: 2, differences: 0, equal: false });
  const store = openSqliteStore({ file: folder.file("data", "unibus.db") });
  expect((await store.users.getRoster()).admins).toHaveLength(1);
  store.close();
  expect(readFileSync(folder.file("data", "blobs", "by-hash", bad.slice(0, 2), bad), "utf8")).toBe("other");
}, 60_000);
