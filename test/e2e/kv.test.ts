/**
 * One node whose control plane is in key-value buckets, with the executable alone: durability, revocation, host
 * commands, replica counts and the disk share of blobs. Source: docs/protocol/identity.md.
 */
import { expect, test } from "bun:test";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { blobBucket, buckets, objectStream } from "../../src/wire/names.ts";
import { firstAdmin, handles, invite, register } from "../support/accounts.ts";
import { Folder, isAlive, Server, unibus, until } from "../support/executable.ts";
import { inside, jetStream } from "../support/inside.ts";
import {
  addMembers,
  addUser,
  at,
  call,
  createRoom,
  dial,
  freshSubject,
  history,
  kick,
  type OwnRoom,
  policy,
  postUser,
  send,
  signedHeaders,
} from "../support/peer.ts";

const decentralized = ["--flag", "decentralized=on"];
const start = (folder: Folder, ...args: string[]) => Server.start({ folder, args: [...decentralized, ...args] });
const statusOf = async (server: Server, user: Identity, method: string, target: string) =>
  (await call(server.ready.http, user, method, target)).status;

async function say(server: Server, user: Identity, { state }: OwnRoom, text: string): Promise<void> {
  const connection = await dial(server, user);
  await connection.request(state.subject, text);
  await connection.close();
}

test("rooms, invites and users are stored in the buckets, and survive a stop and a kill -9", async () => {
  using folder = new Folder();
  let room: OwnRoom;
  let ana: Identity;
  const bob = await generateIdentity();
  {
    await using server = await start(folder);
    const health = await (await fetch(`${server.ready.http}/healthz`)).json();
    expect(health).toMatchObject({ posture: { store: "kv" }, flags: { decentralized: true } });
    expect((await fetch(`${server.ready.http}/readyz`)).status).toBe(200);
    const admin = await firstAdmin(server);
    ana = await postUser(server, admin, "ana");
    const made = await invite(server, admin, { handle: "bob" });
    expect((await register(server.ready.http, made.token, bob)).status).toBe(201);
    expect((await register(server.ready.http, made.token, await generateIdentity())).status).toBe(409);
    room = await addMembers(server, await createRoom(server, ana, policy("encrypt", "persist")), bob);
    await say(server, ana, room, "one");
    expect(await history(server, bob, room)).toEqual([Buffer.from("one")]);
    expect(await statusOf(server, admin, "GET", at(room))).toBe(403);
    const ctl = await inside(server, "CTL");
    const { streams } = await jetStream<{ streams: string[] }>(ctl, "STREAM.NAMES");
    const all = [...Object.values(buckets).map((name) => `KV_${name}`), objectStream(blobBucket)];
    expect([...streams].sort()).toEqual(all.sort());
    await ctl.close();
    expect(await server.end()).toBe(0);
  }
  {
    await using server = await start(folder);
    expect(await handles(server, ana)).toEqual(["admin", "ana", "bob"]);
    expect(await history(server, bob, room)).toEqual([Buffer.from("one")]);
    room = await kick(server, room, bob, ana);
    expect(await statusOf(server, bob, "GET", at(room))).toBe(403);
    await server.end("SIGKILL");
    await until("nats-server ended, too", () => !isAlive(server.ready.nats_pid));
  }
  await using server = await start(folder);
  expect(await statusOf(server, bob, "GET", at(room))).toBe(403);
  expect(await statusOf(server, ana, "GET", at(room))).toBe(200);
  expect(await statusOf(server, ana, "DELETE", at(room))).toBe(204);
  expect(await statusOf(server, ana, "GET", at(room))).toBe(410);
  await createRoom(server, ana, policy("persist"), room.state.subject);
}, 60_000);

test("a revocation, by any client, denies the next request and closes live connections", async () => {
  using folder = new Folder();
  await using server = await start(folder);
  const admin = await addUser(server, "admin", { admin: true });
  for (const byHost of [false, true]) {
    const eve = await postUser(server, admin, `eve ${byHost}`);
    const room = await createRoom(server, eve, policy("persist"), freshSubject());
    const connection = await dial(server, eve, { reconnect: false });
    if (byHost)
      expect((await unibus(server.folder, ["user", "revoke", eve.signPubHex, "--data", "data"])).code).toBe(0);
    else expect(await statusOf(server, admin, "POST", `/users/${eve.signPubHex}/revoke`)).toBe(204);
    expect(await statusOf(server, eve, "GET", at(room))).toBe(401);
    await until("the connection is closed", () => connection.isClosed(), 5_000);
  }
  const last = await call(server.ready.http, admin, "POST", `/users/${admin.signPubHex}/revoke`);
  expect(last.status).toBe(409);
}, 60_000);

test("host commands find the store of the server, while it runs, before its first start and after it", async () => {
  using folder = new Folder();
  const list = async (...more: string[]) => {
    const { stdout, code } = await unibus(folder, ["user", "list", "--data", "data", "--json", ...more]);
    expect(code).toBe(0);
    return (JSON.parse(stdout) as { users: { handle: string }[] }).users.map(({ handle }) => handle).sort();
  };
  const add = async (handle: string, ...more: string[]) => {
    const { signPubHex } = await generateIdentity();
    const args = ["user", "add", handle, "--sign-pub", signPubHex, "--data", "data", ...more];
    expect((await unibus(folder, args)).code).toBe(0);
  };
  await add("early", ...decentralized);
  {
    await using server = await start(folder);
    await add("during");
    expect(await list()).toEqual(["during", "early"]);
    expect(server.ready.pid).toBe(server.pid);
    const both = await unibus(folder, ["serve", "--data", "data", ...decentralized]);
    expect([both.code, both.stderr]).toEqual([1, expect.stringContaining(`process ${server.pid}`)]);
  }
  await add("late");
  expect(await list()).toEqual(["during", "early", "late"]);
  // Options on the command line override those that the directory was served with.
  const other = await unibus(folder, ["user", "list", "--data", "data", "--flag", "decentralized=off"]);
  expect([other.code, other.stderr]).toEqual([1, expect.stringContaining("there is no bus in data")]);
  expect(await list()).toEqual(["during", "early", "late"]);
}, 60_000);

test("more replicas than servers are refused by name, before anything listens", async () => {
  using folder = new Folder();
  const free = ["--http", "--nats", "--ws"].flatMap((name) => [name, "127.0.0.1:0"]);
  const args = ["serve", "--data", "data", ...free, ...decentralized, "--set", "store-kv.replicas=3"];
  const { code, stderr } = await unibus(folder, args);
  expect([code, stderr]).toEqual([
    1,
    expect.stringMatching(/^error: store-kv\.replicas: 3 replicas need a cluster \(.*$/m),
  ]);
}, 60_000);

test("blobs that are uploaded at once fill their configured part of the disk, and the control plane continues", async () => {
  using folder = new Folder();
  const [atOnce, blobBytes] = [50, 131_072];
  const bytesMax = 16 * 1_048_576;
  await using server = await start(folder, "--set", `nats-embedded.ctl_bytes_max=${bytesMax}`);
  const ana = await addUser(server, "ana", { admin: true });
  const put = async (): Promise<number> => {
    const body = Buffer.alloc(blobBytes, crypto.randomUUID());
    const headers = signedHeaders(ana, { url: server.ready.http, method: "POST", target: "/blobs", body });
    return (await send(`${server.ready.http}/blobs`, { method: "POST", headers, body })).status;
  };
  const statuses: number[] = [];
  while (!statuses.includes(503) && statuses.length * blobBytes < 2 * bytesMax) {
    statuses.push(...(await Promise.all(Array.from({ length: atOnce }, put))));
  }
  const taken = statuses.filter((status) => status === 201).length * blobBytes;
  expect([new Set(statuses), taken > bytesMax / 2]).toEqual([new Set([201, 503]), true]);
  const bob = await postUser(server, ana, "bob");
  expect((await call(server.ready.http, ana, "POST", `/users/${bob.signPubHex}/revoke`)).status).toBe(204);
  expect(await statusOf(server, bob, "GET", "/directory")).toBe(401);
}, 60_000);
