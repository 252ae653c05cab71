/** Each action that removes access appends a line to <data>/denials, whichever way it came. */
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, rmdirSync, rmSync, statSync } from "node:fs";
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import { stayDenialKey } from "../../src/contracts/denials.ts";
import { adminLink, firstAdmin, invite, register, tokenOf } from "../support/accounts.ts";
import { Folder, Server, unibus, until } from "../support/executable.ts";
import { addMembers, addUser, at, call, createRoom, leave, policy, postUser } from "../support/peer.ts";

const linesIn = (...path: [Folder, ...string[]]): string[] => {
  const [folder, ...names] = path;
  const lines = readFileSync(folder.file(...names), "utf8")
    .trimEnd()
    .split("\n");
  return lines.map((line) => line.split(" ").slice(0, 2).join(" "));
};

test("each denial is one line in the file and in its copy, from the server or the host", async () => {
  using folder = new Folder();
  await using server = await Server.start({ folder, args: ["--set", "denials.copy_to=../copy"] });
  const firstInvite = tokenOf(adminLink(server));
  const ana = await firstAdmin(server);
  const ask = (method: string, target: string, body?: unknown) => call(server.ready.http, ana, method, target, body);
  const [bob, cleo, dan] = [
    await postUser(server, ana, "bob"),
    await postUser(server, ana, "cleo"),
    await addUser(server, "dan"),
  ];
  const [spent, cancelled, cancelledOnHost] = [
    await invite(server, ana, { handle: "eve" }),
    await invite(server, ana, { handle: "fay" }),
    await invite(server, ana, { handle: "guy" }),
  ];
  const eve = await generateIdentity();
  // A claim refused for its keys does not spend the invite; a claim that is repeated counts as one denial.
  expect((await register(server.ready.http, spent.token, { ...eve, kexSig: bob.kexSig } as typeof eve)).status).toBe(
    400,
  );
  for (const _ of [1, 2]) expect((await register(server.ready.http, spent.token, eve)).status).toBe(201);
  expect((await ask("DELETE", `/invites/${cancelled.id}`)).status).toBe(204);
  for (const id of [cancelled.id, spent.id]) expect((await ask("DELETE", `/invites/${id}`)).status).toBe(404);
  const onHost = (...args: string[]) => unibus(folder, [...args, "--data", server.data]);
  expect(await onHost("invite", "cancel", cancelledOnHost.id)).toMatchObject({ code: 0 });

  const kept = await addMembers(server, await createRoom(server, ana, policy("encrypt")), bob);
  const room = await addMembers(server, await createRoom(server, ana, policy("encrypt")), bob);
  expect((await leave(server, room, ana)).status).toBe(409);
  expect((await leave(server, room, bob)).status).toBe(204);
  expect((await ask("DELETE", at(room))).status).toBe(204);
  expect((await ask("DELETE", at(room))).status).toBe(410);

  for (const _ of [1, 2]) expect((await ask("POST", `/users/${bob.signPubHex}/revoke`)).status).toBe(204);
  expect((await ask("DELETE", `/users/${cleo.signPubHex}`)).status).toBe(204);
  expect((await ask("DELETE", `/users/${cleo.signPubHex}`)).status).toBe(404);
  expect((await ask("POST", `/users/${ana.signPubHex}/revoke`)).status).toBe(409);
  expect(await onHost("user", "revoke", dan.signPubHex)).toMatchObject({ code: 0 });
  for (const _ of [1, 2]) expect((await ask("POST", `/users/${bob.signPubHex}/restore`)).status).toBe(204);

  const { roomId } = room.state;
  const wanted = [
    expect.stringMatching(/^invite-spent [0-9a-f]{32}$/),
    `invite-spent ${spent.id}`,
    `invite-cancelled ${cancelled.id}`,
    `invite-cancelled ${cancelledOnHost.id}`,
    `left ${stayDenialKey(roomId, bob.endpoint, 1)}`,
    `room-deleted ${roomId}`,
    `user-revoked ${bob.signPubHex}`,
    `left ${stayDenialKey(kept.state.roomId, bob.endpoint, 1)}`,
    `user-deleted ${cleo.signPubHex}`,
    `user-revoked ${dan.signPubHex}`,
    `user-restored ${bob.signPubHex}`,
  ];
  expect(linesIn(folder, "data", "denials")).toEqual(wanted);
  expect(readFileSync(folder.file("data", "denials"), "utf8")).not.toContain(firstInvite);
  expect(statSync(folder.file("data", "denials")).mode & 0o777).toBe(0o600);
  await until("the copy has the line of the host command, too", () => linesIn(folder, "copy").length === wanted.length);
  expect(linesIn(folder, "copy")).toEqual(wanted);
}, 60_000);

test("denials that cannot be written make the server not ready, but do not delay a revocation", async () => {
  using folder = new Folder();
  await using server = await Server.start({ folder });
  const [ana, bob] = [await addUser(server, "ana", { admin: true }), await addUser(server, "bob")];
  // The file exists: the first admin used a link.
  rmSync(folder.file("data", "denials"));
  mkdirSync(folder.file("data", "denials"));
  const ready = async () => (await fetch(`${server.ready.http}/readyz`)).status;
  expect((await call(server.ready.http, ana, "POST", `/users/${bob.signPubHex}/revoke`)).status).toBe(204);
  expect((await call(server.ready.http, bob, "GET", "/directory")).status).toBe(401);
  expect(await ready()).toBe(503);
  rmdirSync(folder.file("data", "denials"));
  await until("the line is written and the server is ready", async () => (await ready()) === 200);
  expect(linesIn(folder, "data", "denials")).toEqual([`user-revoked ${bob.signPubHex}`]);
}, 60_000);
