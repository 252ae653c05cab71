/**
 * Accounts from an empty folder on, with the executable alone: the first admin joins, invites others, and users are
 * revoked or deleted; also how the admin link is shown, renewed and voided. Source: docs/protocol/identity.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { adminLink, firstAdmin, handles, identityAt, invite, join, register, tokenOf } from "../support/accounts.ts";
import { Folder, Server, unibus, until } from "../support/executable.ts";
import { call } from "../support/peer.ts";
import { AtTerminal } from "../support/terminal.ts";

const modeOf = (file: string) => statSync(file).mode & 0o777;
const linkShape = /^http:\/\/127\.0\.0\.1:\d+\/join#[0-9a-f]{64}$/;

test("a new operator serves, joins as the admin and invites a second person, and the directory lists both", async () => {
  await using server = await Server.start();
  const { folder } = server;
  const first = adminLink(server);
  expect(first).toMatch(linkShape);
  expect(modeOf(folder.file("data", "admin-link"))).toBe(0o600);

  const joined = await join(folder, first, "admin.json");
  expect(joined.code).toBe(0);
  const admin = await identityAt(folder, "admin.json");
  expect(modeOf(folder.file("admin.json"))).toBe(0o600);
  const shown = JSON.parse(joined.stdout) as Record<string, string>;
  expect(shown).toMatchObject({ handle: "admin", role: "admin", sign_pub: admin.signPubHex, url: server.ready.http });
  // Without a terminal the recovery words are not printed, because they would end up in a log.
  expect(joined.stderr).not.toMatch(/words/);

  const made = await unibus(folder, ["invite", "new", "Bea", "--data", "data"]);
  expect(made.stdout.trim()).toMatch(linkShape);
  expect(made.stderr).toMatch(/^works once, until .* \(to cancel it: unibus invite cancel [0-9a-f]{32}\)\n$/);
  const second = await unibus(folder, ["join", "-", "--identity", "bea.json"], { stdin: `\n  ${made.stdout}\n` });
  expect([second.code, second.stdout]).toEqual([0, expect.stringMatching(/^handle +Bea$/m)]);
  const bea = await identityAt(folder, "bea.json");
  expect(await handles(server, bea)).toEqual(["Bea", "admin"]);
  const entry = { sign_pub: bea.signPubHex, endpoint: bea.endpoint, handle: "Bea", role: "member" };
  const { json } = await call(server.ready.http, admin, "GET", "/directory");
  expect(json.members).toContainEqual({ ...entry, kex_pub: bea.kexPubHex, kex_sig: bea.kexSig });

  // The link works once. A client that lost the reply learns that the join succeeded.
  expect((await join(folder, first, "late.json")).stderr).toContain("this invite has already been used");
  expect((await join(folder, first, "admin.json")).stderr).toMatch(/this identity is already a user of .*admin/);
  expect(await server.end()).toBe(0);
  const { stdout, stderr } = await server.output();
  for (const link of [first, made.stdout.trim()]) expect(stdout + stderr).not.toContain(tokenOf(link));
  expect(stderr).toContain(
    `no admin yet: ${folder.file("data", "admin-link")} holds the link for the first (within an hour: unibus join - < `,
  );

  await using again = await Server.start({ folder });
  expect(existsSync(folder.file("data", "admin-link"))).toBe(false);
  expect(await handles(again, admin)).toEqual(["Bea", "admin"]);
}, 30_000);

describe("at a terminal", () => {
  test("the admin's link is printed but not stored; the words are shown once, and restore the identity", async () => {
    using folder = new Folder();
    writeFileSync(folder.file("words.txt"), "");
    const ports = ["--http", "--nats", "--ws"].flatMap((name) => [name, "127.0.0.1:0"]);
    await using server = new AtTerminal(folder, ["serve", "--data", "data", ...ports]);
    // Terminal output arrives slightly later than output to a file.
    await until("a link is printed", () => /join#[0-9a-f]{64}\n/.test(server.said));
    await until("ready.json exists", () => existsSync(folder.file("data", "ready.json")));
    const link = /^ *unibus join (http:\S+\/join#[0-9a-f]{64})$/m.exec(server.said)?.[1] ?? "";
    expect(server.said).toContain("To become the first, run this within an hour:\n  unibus join http://");
    expect(link).toMatch(linkShape);
    expect(existsSync(folder.file("data", "admin-link"))).toBe(false);
    expect(server.said.split(tokenOf(link))).toHaveLength(2);

    await using joining = new AtTerminal(folder, ["join", link, "--identity", "me.json"]);
    expect(await joining.exited).toBe(0);
    await until("the words are printed", () => /role +admin/.test(joining.said));
    const words = /^((?:[a-z]+ ){11}[a-z]+)$/m.exec(joining.said)?.[1] ?? "";
    expect(words.split(" ")).toHaveLength(12);
    const me = await identityAt(folder, "me.json");
    const again = await unibus(folder, ["identity", "restore", "--out", "again.json", "--json"], { stdin: words });
    expect([again.code, JSON.parse(again.stdout).endpoint]).toEqual([0, me.endpoint]);
    expect(readFileSync(folder.file("again.json"), "utf8")).toBe(readFileSync(folder.file("me.json"), "utf8"));
    const refused = await unibus(folder, ["identity", "restore", "--out", "again.json"], { stdin: words });
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringMatching(/^error: again\.json exists/)]);
  }, 30_000);
});

test("the admin's link is renewed at each start while there is no admin, which voids the previous one", async () => {
  using folder = new Folder();
  const links: string[] = [];
  for (let start = 0; start < 2; start++) {
    await using server = await Server.start({ folder });
    links.push(adminLink(server));
    await server.end();
  }
  await using server = await Server.start({ folder });
  expect(new Set([...links, adminLink(server)]).size).toBe(3);
  const root = await generateIdentity();
  for (const link of links) {
    expect((await register(server.ready.http, tokenOf(link), root)).json.code).toBe("not_found");
  }
  expect((await register(server.ready.http, tokenOf(adminLink(server)), root)).status).toBe(201);
}, 30_000);

describe("on one server", () => {
  let server: Server;
  let admin: Identity;
  const host = (...args: string[]) => unibus(server.folder, [...args, "--data", "data"]);
  const as = (user: Identity, method: string, target: string, body?: unknown) =>
    call(server.ready.http, user, method, target, body);

  beforeAll(async () => {
    server = await Server.start();
    admin = await firstAdmin(server);
  });
  afterAll(() => server[Symbol.asyncDispose]());

  test("invites can be created, listed without their tokens, and cancelled, by command and over HTTP", async () => {
    const made = JSON.parse((await host("invite", "new", "Cy", "--admin", "--ttl", "60", "--json")).stdout);
    const other = await invite(server, admin, { handle: "Di", ttl_s: 120 });
    expect(other.link).toBe(`${server.ready.http}/join#${other.token}`);
    const listed = (await as(admin, "GET", "/invites")).json.invites as Record<string, string>[];
    expect(listed).toHaveLength(2);
    expect(listed[0]).toMatchObject({ id: made.id, handle: "Cy", role: "admin", expires_at: made.expires_at });
    expect(Object.keys(listed[0] ?? {}).sort()).toEqual(["created_at", "expires_at", "handle", "id", "role"]);
    const shown = JSON.parse((await host("invite", "list", "--json")).stdout);
    expect(shown.invites).toEqual(listed);
    const ttl = Date.parse(listed[1]?.expires_at ?? "") - Date.parse(listed[1]?.created_at ?? "");
    expect(ttl).toBe(120_000);

    expect((await host("invite", "cancel", made.id)).code).toBe(0);
    expect((await host("invite", "cancel", made.id)).stderr).toMatch(/^error: no such pending invite/);
    expect((await as(admin, "DELETE", `/invites/${other.id}`)).status).toBe(204);
    expect((await as(admin, "DELETE", `/invites/${other.id}`)).status).toBe(404);
    expect((await host("invite", "list")).stdout).toBe("");
    const late = await generateIdentity();
    for (const token of [tokenOf(made.link), other.token]) {
      expect((await register(server.ready.http, token, late)).status).toBe(404);
    }
    expect((await host("invite", "new", "Cy", "--ttl", "0")).code).toBe(2);
  });

  test("invalid keys keep an invite usable, a registered key spends it, and an expired one is reported", async () => {
    const [ana, eve] = [await generateIdentity(), await generateIdentity()];
    const { token } = await invite(server, admin, { handle: "Ana" });
    const body = { token, sign_pub: ana.signPubHex, kex_pub: ana.kexPubHex, kex_sig: eve.kexSig };
    const bad = await as(admin, "POST", "/register", body);
    expect([bad.status, bad.json.code]).toEqual([400, "invalid"]);
    expect((await register(server.ready.http, token, ana)).json).toMatchObject({ handle: "Ana", role: "member" });
    expect((await register(server.ready.http, token, ana)).status).toBe(201);
    expect((await register(server.ready.http, token, eve)).status).toBe(409);
    const next = await invite(server, admin, { handle: "Eve", role: "admin" });
    expect((await register(server.ready.http, next.token, ana)).status).toBe(409);
    expect((await register(server.ready.http, next.token, eve)).status).toBe(409);
    const short = await invite(server, admin, { handle: "Eve", ttl_s: 1 });
    await until("the invite has expired", async () => Date.now() >= Date.parse(short.expires_at));
    const gone = await register(server.ready.http, short.token, eve);
    expect([gone.status, gone.json.code]).toEqual([410, "gone"]);
  });

  test("bot add registers and then writes; if the file exists, it refuses and registers nothing", async () => {
    const added = await host("bot", "add", "robot", "--out", "bot.json", "--json");
    expect([added.code, JSON.parse(added.stdout).handle]).toEqual([0, "robot"]);
    expect(modeOf(server.folder.file("bot.json"))).toBe(0o600);
    const bot = await identityAt(server.folder, "bot.json");
    expect(await handles(server, bot)).toContain("robot");
    const before = await handles(server, admin);
    for (const out of ["bot.json", "data", "no/such/../../bot.json"]) {
      const refused = await host("bot", "add", "second", "--out", out);
      expect([out, refused.code, refused.stderr.startsWith("error: ")]).toEqual([out, 1, true]);
    }
    writeFileSync(server.folder.file("plain"), "");
    expect((await host("bot", "add", "third", "--out", "plain/bot.json")).code).toBe(1);
    expect(await handles(server, admin)).toEqual(before);
    expect(readdirSync(server.folder.path).filter((name) => name.startsWith(".identity"))).toEqual([]);
  });

  test("a deleted user is denied at once, also by a command on the host, and the key may join again", async () => {
    const { token } = await invite(server, admin, { handle: "Flo" });
    expect((await join(server.folder, `${server.ready.http}/join#${token}`, "flo.json")).code).toBe(0);
    const flo = await identityAt(server.folder, "flo.json");
    expect((await as(flo, "GET", "/directory")).status).toBe(200);
    expect((await host("user", "delete", flo.signPubHex.toUpperCase())).code).toBe(0);
    expect((await as(flo, "GET", "/directory")).status).toBe(401);
    expect((await host("user", "delete", flo.signPubHex)).stderr).toMatch(/^error: no such user/);
    // The used invite does not bring the user back; a new invite does.
    expect((await register(server.ready.http, token, flo)).status).toBe(409);
    const again = await invite(server, admin, { handle: "Flo" });
    expect((await register(server.ready.http, again.token, flo)).status).toBe(201);
    expect((await as(admin, "POST", `/users/${flo.signPubHex}/revoke`)).status).toBe(204);
    expect((await as(flo, "GET", "/directory")).status).toBe(401);
    const third = await invite(server, admin, { handle: "Flo" });
    expect((await register(server.ready.http, third.token, flo)).status).toBe(409);
  });

  test("the last active admin cannot be removed over HTTP", async () => {
    const second = await generateIdentity();
    const body = { sign_pub: second.signPubHex, handle: "second", role: "admin" };
    const targets = (user: Identity) =>
      [
        ["POST", `/users/${user.signPubHex}/revoke`] as const,
        ["DELETE", `/users/${user.signPubHex}`] as const,
      ] as const;
    for (const [method, target] of targets(admin)) {
      const refused = await as(admin, method, target);
      expect([refused.status, refused.json]).toEqual([
        409,
        { error: "the last active admin cannot be revoked or removed (make another admin first)", code: "conflict" },
      ]);
    }
    expect((await as(admin, "POST", "/users", body)).status).toBe(201);
    // Two admins remove each other at the same time: one of them must remain.
    const removals = await Promise.all([
      as(admin, "DELETE", `/users/${second.signPubHex}`),
      as(second, "POST", `/users/${admin.signPubHex}/revoke`),
    ]);
    expect(removals.filter(({ status }) => status === 204)).toHaveLength(1);
    const left = removals[0]?.status === 204 ? admin : second;
    for (const [method, target] of targets(left)) expect((await as(left, method, target)).status).toBe(409);
  });
});
