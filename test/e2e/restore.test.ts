/**
 * `restore` and `way-back` by the executable: users, members and invites that lost access since the backup must not
 * regain it. The denials file of the data directory supplies what happened after the backup.
 * Source: docs/protocol/rooms.md.
 */
import { describe, expect, test } from "bun:test";
import { copyFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import { invite, register } from "../support/accounts.ts";
import { Folder, Server, unibus, until } from "../support/executable.ts";
import { addMembers, addUser, at, call, createRoom, leave, policy, postUser } from "../support/peer.ts";
import { AtTerminal } from "../support/terminal.ts";

/** A server with a backup that is older than revocations, deletions, a used and a cancelled invite, and a leave. */
async function lived() {
  const folder = new Folder();
  await using server = await Server.start({ folder, args: ["--set", "denials.copy_to=../copy"] });
  const ana = await addUser(server, "ana", { admin: true });
  const user = (handle: string) => postUser(server, ana, handle);
  const [bob, cleo, dan, eve] = [await user("bob"), await user("cleo"), await user("dan"), await user("eve")];
  const zoe = await addUser(server, "zoe", { admin: true });
  const ask = (caller: typeof ana, method: string, target: string, body?: unknown) =>
    call(server.ready.http, caller, method, target, body);
  const room = await addMembers(server, await createRoom(server, ana, policy("encrypt")), bob, cleo, dan, eve);
  const doomed = await createRoom(server, ana, policy());
  const [spent, cancelled] = [
    await invite(server, ana, { handle: "fay" }),
    await invite(server, ana, { handle: "guy", role: "admin" }),
  ];
  expect(await unibus(folder, ["backup", "--data", "data", "--out", "b.jsonl"])).toMatchObject({ code: 0 });
  expect((await ask(ana, "POST", `/users/${bob.signPubHex}/revoke`)).status).toBe(204);
  expect((await ask(ana, "DELETE", `/users/${cleo.signPubHex}`)).status).toBe(204);
  expect((await ask(ana, "POST", `/users/${zoe.signPubHex}/revoke`)).status).toBe(204);
  expect((await leave(server, room, dan)).status).toBe(204);
  const fay = await generateIdentity();
  expect((await register(server.ready.http, spent.token, fay)).status).toBe(201);
  expect((await ask(ana, "DELETE", `/invites/${cancelled.id}`)).status).toBe(204);
  expect((await ask(ana, "DELETE", at(doomed))).status).toBe(204);
  const later = await createRoom(server, ana, policy());
  expect((await ask(ana, "DELETE", at(later))).status).toBe(204);
  await server.end();
  return { folder, people: { ana, bob, cleo, dan, eve, zoe, fay }, room, doomed, later, spent, cancelled };
}

/** The directory's status for users of a restored server: 200 for active ones. */
async function statuses(server: Server, ...caller: readonly Parameters<typeof call>[1][]): Promise<number[]> {
  return Promise.all(caller.map(async (one) => (await call(server.ready.http, one, "GET", "/directory")).status));
}

describe("a restore of a backup that is older than some denials", () => {
  test("finds the denials of its directory, or uses the given ones, and applies them", async () => {
    const { folder, people, room, doomed, later, spent, cancelled } = await lived();
    using _ = folder;
    const { ana, bob, cleo, dan, eve, zoe, fay } = people;
    for (const named of [false, true]) {
      using other = new Folder();
      copyFileSync(folder.file("b.jsonl"), other.file("b.jsonl"));
      if (named) copyFileSync(folder.file("copy"), other.file("copied"));
      else await Bun.write(other.file("data", "denials"), readFileSync(folder.file("data", "denials")));
      const flags = named ? ["--denials", "copied"] : [];
      const unasked = await unibus(other, ["restore", "--data", "data", "b.jsonl", ...flags]);
      expect([unasked.code, unasked.stdout]).toEqual([1, ""]);
      expect(unasked.stderr).toContain("needs an answer, and stdin is not a terminal (add --yes)");
      expect(existsSync(other.file("data", "unibus.db"))).toBe(false);
      const done = await unibus(other, ["restore", "--data", "data", "b.jsonl", "--yes", ...flags]);
      expect([done.code, done.stderr]).toEqual([0, expect.stringContaining("unibus room repair ROOM")]);
      for (const said of [`revoked:\n  ${[bob, zoe].map(({ signPubHex }) => signPubHex).sort()[0]}`, ana.signPubHex]) {
        expect(done.stderr).toContain(said);
      }
      expect(done.stdout).toMatch(/^way_back_until +20/m);
      expect(readFileSync(other.file("data", "denials"), "utf8")).toContain(`user-revoked ${bob.signPubHex}`);

      await using server = await Server.start({ folder: other });
      expect(await statuses(server, ana, bob, cleo, dan, eve, zoe, fay)).toEqual([200, 401, 401, 200, 200, 401, 401]);
      const view = async (caller: typeof ana) => (await call(server.ready.http, caller, "GET", at(room))).status;
      expect([await view(ana), await view(dan), await view(eve)]).toEqual([200, 403, 200]);
      for (const gone of [doomed, later]) {
        expect((await call(server.ready.http, ana, "GET", at(gone))).status).toBe(410);
      }
      const stranger = await generateIdentity();
      for (const { token } of [spent, cancelled]) {
        expect((await register(server.ready.http, token, stranger)).status).toBe(404);
      }
      const state = await unibus(other, ["way-back", "status", "--data", "data", "--json"]);
      expect(JSON.parse(state.stdout)).toMatchObject({ open: true, contested: [] });
    }
  }, 120_000);

  test("without them lists the users it would admit again, and continues only with --trust-users", async () => {
    const { folder, people } = await lived();
    using _ = folder;
    const { ana, bob, cleo, dan, eve, zoe } = people;
    const restore = (...args: string[]) => unibus(folder, ["restore", "--data", "fresh", "b.jsonl", ...args]);
    for (const flags of [[], ["--yes"], ["--admin", ana.signPubHex]]) {
      const done = await restore(...flags);
      expect([done.code, done.stdout, existsSync(folder.file("fresh"))]).toEqual([1, "", false]);
      expect(done.stderr).toContain("no denials were found");
      for (const { signPubHex } of [ana, bob, cleo, dan, eve, zoe]) expect(done.stderr).toContain(signPubHex);
    }
    for (const key of [bob.signPubHex, "0".repeat(64)]) {
      expect((await restore("--trust-users", "--admin", key)).stderr).toContain(
        "is not an active admin of this backup",
      );
    }
    expect((await restore("--trust-users", "--revoke", "0".repeat(64))).stderr).toContain(
      "is not a user of this backup",
    );
    expect((await restore("--admin", "x")).code).toBe(2);
    const named = ["--admin", ana.signPubHex.toUpperCase(), "--revoke", bob.signPubHex, "--trust-users"];
    expect(await restore(...named)).toMatchObject({ code: 0 });
    // Repeating the command, and a second restore of the same backup, keep the decision.
    expect(await restore(...named)).toMatchObject({ code: 0 });
    copyFileSync(folder.file("fresh", "denials"), folder.file("decided"));
    const again = ["restore", "--data", "again", "b.jsonl", "--denials", "decided", "--yes"];
    expect(await unibus(folder, again)).toMatchObject({ code: 0 });
    for (const data of ["fresh", "again"]) {
      const { stdout } = await unibus(folder, ["user", "list", "--data", data, "--json"]);
      const users = (JSON.parse(stdout) as { users: { handle: string; role: string; status: string }[] }).users;
      expect(users.map(({ handle, role, status }) => `${handle} ${role} ${status}`).sort()).toEqual([
        ...["ana admin active", "bob member revoked", "cleo member active", "dan member active", "eve member active"],
        "zoe member active",
      ]);
      const invites = await unibus(folder, ["invite", "list", "--data", data, "--json"]);
      expect(JSON.parse(invites.stdout)).toEqual({ invites: [] });
    }
  }, 120_000);

  test("asks for confirmation, and stops at any answer but yes", async () => {
    const { folder } = await lived();
    using _ = folder;
    for (const [answer, code] of [
      ["n", 1],
      ["", 1],
      ["yes", 0],
    ] as const) {
      const args = ["restore", "--data", `t-${answer}`, "b.jsonl", "--denials", "copy"];
      await using terminal = new AtTerminal(folder, args);
      await until("it asks", () => terminal.said.includes("restore these users, with these admins? [y/N]"));
      terminal.type(`${answer}\r`);
      expect([answer, await terminal.exited]).toEqual([answer, code]);
      expect(existsSync(folder.file(`t-${answer}`, "unibus.db"))).toBe(code === 0);
    }
  }, 60_000);
});

test("a damaged denials file stops a restore, and the line is named", async () => {
  const { folder } = await lived();
  using _ = folder;
  const text = readFileSync(folder.file("copy"), "utf8");
  writeFileSync(folder.file("bad"), text.replace("\n", "\nuser-rev"));
  const done = await unibus(folder, ["restore", "--data", "fresh", "b.jsonl", "--denials", "bad", "--yes"]);
  expect([done.code, done.stderr]).toEqual([1, expect.stringContaining("bad, line 2 is not a denial")]);
  const missing = await unibus(folder, ["restore", "--data", "fresh", "b.jsonl", "--denials", "none", "--yes"]);
  expect(missing.stderr).toContain("no such file: none");
}, 60_000);

test("way-back can be opened and closed on the host, for a snapshot restored by other means", async () => {
  using folder = new Folder();
  await using server = await Server.start({ folder });
  const ana = await addUser(server, "ana", { admin: true });
  const room = await createRoom(server, ana, policy());
  const wayBack = (...args: string[]) => unibus(folder, ["way-back", ...args, "--data", "data"]);
  const hash = "ab".repeat(32);
  expect((await wayBack("status")).stdout).toMatch(/^open +false$/m);
  expect((await wayBack("take", room.state.roomId, hash)).stderr).toContain("the way back is closed");
  const opened = JSON.parse((await wayBack("open", "--days", "2", "--json")).stdout) as Record<string, string>;
  expect(Date.parse(opened.closes_at ?? "") - Date.parse(opened.opened_at ?? "")).toBe(2 * 86_400_000);
  expect((await wayBack("open")).stderr).toContain("the way back is open until");
  expect((await wayBack("open", "--days", "0")).code).toBe(2);
  expect((await wayBack("take", "room.nowhere", hash)).stderr).toContain("no such room: room.nowhere");
  expect(await wayBack("take", room.state.subject, hash)).toMatchObject({ code: 0 });
  const report = (await call(server.ready.http, ana, "GET", "/way-back")).json;
  expect(report).toMatchObject({ open: true, contested: [], more: false });
  expect(await wayBack("close")).toMatchObject({ code: 0 });
  expect((await call(server.ready.http, ana, "GET", "/way-back")).json).toMatchObject({ open: false });
}, 60_000);
