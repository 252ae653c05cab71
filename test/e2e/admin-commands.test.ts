/** An admin manages a bus with `unibus admin`, without access to its host. Source: docs/operate.md. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { register, tokenOf } from "../support/accounts.ts";
import { CliPeer } from "../support/cli-peer.ts";
import { type Done, Server, until } from "../support/executable.ts";
import { addUser, createRoom, dial, policy, postUser } from "../support/peer.ts";

let server: Server;
let admin: Identity;
let root: CliPeer;

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=100000"] });
  admin = await addUser(server, "root", { admin: true });
  root = new CliPeer(server, admin, "root");
});
afterAll(async () => {
  root[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
});

const run = (...args: string[]): Promise<Done> => root.run(["admin", ...args]);
const json = async (...args: string[]) => JSON.parse((await run(...args, "--json")).stdout) as Record<string, never[]>;
const rowOf = async (signPub: string): Promise<string | undefined> =>
  (await run("user", "list")).stdout.split("\n").find((line) => line.endsWith(signPub));

test("users are added, renamed, revoked, restored and deleted, by handle, key or endpoint", async () => {
  const bob = await generateIdentity();
  const keys = ["--sign-pub", bob.signPubHex, "--kex-pub", bob.kexPubHex, "--kex-sig", bob.kexSig];
  expect(await json("user", "add", "bob", ...keys)).toEqual({
    ...{ handle: "bob", role: "member", sign_pub: bob.signPubHex, endpoint: bob.endpoint },
  } as never);
  expect(await run("user", "rename", "BOB", "robert")).toMatchObject({
    ...{ code: 0, stdout: "", stderr: `renamed BOB to robert (${bob.signPubHex})\n` },
  });
  expect(await run("user", "revoke", bob.signPubHex)).toMatchObject({ code: 0 });
  expect(await rowOf(bob.signPubHex)).toBe(`robert\tmember\trevoked\t${bob.signPubHex}`);
  expect((await run("user", "restore", "robert")).stderr).toStartWith(`restored robert (${bob.signPubHex})`);
  expect(await rowOf(bob.signPubHex)).toBe(`robert\tmember\tactive\t${bob.signPubHex}`);
  expect(await run("user", "delete", "--", bob.endpoint)).toMatchObject({ code: 0 });
  expect(await rowOf(bob.signPubHex)).toBeUndefined();
  expect(await run("user", "restore", "robert")).toMatchObject({
    ...{ code: 1, stderr: 'error: "robert" is not a user of this bus (see unibus admin user list)\n' },
  });
  const last = await run("user", "revoke", "root", "--json");
  expect([last.code, JSON.parse(last.stderr).code]).toEqual([1, "conflict"]);
}, 60_000);

test("invites are made, listed and cancelled", async () => {
  const made = await run("invite", "new", "eve", "--ttl", "600");
  expect(made.stdout).toMatch(new RegExp(`^${server.ready.http}/join#[0-9a-f]{64}\n$`));
  expect((await register(server.ready.http, tokenOf(made.stdout.trim()), await generateIdentity())).status).toBe(201);
  const { id } = (await json("invite", "new", "fay", "--admin")) as unknown as { id: string };
  // The link for the first admin is pending, too.
  const listed = async () => (await json("invite", "list")).invites?.find((one: { id: string }) => one.id === id);
  expect(await listed()).toMatchObject({ id, handle: "fay", role: "admin" });
  expect(await run("invite", "cancel", id)).toMatchObject({ code: 0, stderr: `cancelled ${id}\n` });
  expect(await listed()).toBeUndefined();
}, 60_000);

test("rooms, connections and usage are listed, for admins only", async () => {
  const ana = await postUser(server, admin, "ana");
  const room = await createRoom(server, ana, policy("persist"));
  const peer = await dial(server, ana);
  await peer.request(room.state.subject, "hello");
  const { roomId, subject } = room.state;
  expect((await run("rooms")).stdout).toMatch(new RegExp(`^${subject}\t${roomId}\t1\t1\t\\d+\t\\S+\n$`));
  expect((await run("connections")).stdout).toMatch(new RegExp(`^ana\t${ana.endpoint}\t127.0.0.1\t\\S+\n$`));
  expect((await json("usage")).usage).toContainEqual(
    expect.objectContaining({ handle: "ana", rooms: 1, connections: 1, blob_bytes: 0 }) as never,
  );
  await peer.close();
  await until("the connection is gone", async () => (await run("connections")).stdout === "");
  expect((await run("connections")).stderr).toBe("no client is connected to this node\n");
  using member = new CliPeer(server, ana, "ana");
  for (const list of ["rooms", "connections", "usage"]) {
    const { code, stdout, stderr } = await member.run(["admin", list]);
    expect([code, stdout, stderr]).toEqual([1, "", "error: this route is for admins only (ask an admin)\n"]);
  }
}, 60_000);
