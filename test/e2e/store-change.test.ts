/** A data directory served with another store than before: refused, unless a migration copied everything. */
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { Folder, Server, unibus, until } from "../support/executable.ts";
import { castOf } from "../support/inside.ts";
import { createRoom, dial, history, type OwnRoom, policy } from "../support/peer.ts";

const keyValue = ["--flag", "decentralized=on"];
const wide = ["--set", "http.rate=100000"];

/** Serves a folder while `work` runs, then stops. */
async function during<T>(folder: Folder, args: readonly string[], work: (server: Server) => Promise<T>): Promise<T> {
  await using server = await Server.start({ folder, args: [...wide, ...args] });
  return await work(server);
}

/** The error of a `serve` that is refused. */
async function refused(folder: Folder, ...args: string[]): Promise<string> {
  const free = ["--http", "--nats", "--ws"].flatMap((name) => [name, "127.0.0.1:0"]);
  const { code, stderr } = await unibus(folder, ["serve", "--data", "data", ...free, ...args]);
  expect(code).toBe(1);
  return stderr;
}

test("a flag cannot hide messages, and an abandoned store cannot come back", async () => {
  using folder = new Folder();
  const { ana, room } = await during(folder, [], async (server) => {
    const { ana } = await castOf(server, "ana");
    const room = await createRoom(server, ana, policy("persist"));
    const connection = await dial(server, ana);
    await connection.request(room.state.subject, "kept");
    await connection.close();
    return { ana, room };
  });
  const kept = (args: readonly string[], of: OwnRoom = room) =>
    during(folder, args, async (server) => (await history(server, ana, of)).map(String));

  expect(await refused(folder, ...keyValue)).toMatch(
    /was last served with the store sqlite unibus\.db, and kv does not have its users.*migrate-to-kv/,
  );
  expect(await kept([])).toEqual(["kept"]);

  const there = ["migrate-to-kv", "--data", "data", "--db", "data/unibus.db", "--no-backup"];
  expect(await unibus(folder, there)).toMatchObject({ code: 0 });
  expect(await kept(keyValue)).toEqual(["kept"]);

  // The old database lacks everything that happened since.
  expect(await refused(folder)).toMatch(/was last served with the store kv, .*sqlite unibus\.db does not have/);
  const back = ["migrate-to-sqlite", "--data", "data", "--db", "data/back.db"];
  expect(await unibus(folder, back)).toMatchObject({ code: 0 });
  expect(await refused(folder, "--flag", "decentralized=off")).toContain("sqlite unibus.db does not have");
  expect(await kept(["--flag", "decentralized=off", "--set", "store-sqlite.file=back.db"])).toEqual(["kept"]);
  expect(existsSync(folder.file("data", "store.json"))).toBe(true);
}, 90_000);

test("an unreadable record of the store is not ignored", async () => {
  using folder = new Folder();
  await during(folder, [], async () => undefined);
  await Bun.write(folder.file("data", "store.json"), "{");
  expect(await refused(folder)).toMatch(/store\.json is damaged \(remove it if the plan names the store/);
  await until("the server has cleaned up", () => !existsSync(folder.file("data", "ready.json")));
}, 30_000);
