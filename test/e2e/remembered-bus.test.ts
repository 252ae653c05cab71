/** Which bus a command talks to when the command line does not name one. */
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { adminLink, firstAdminByCommand, identityAt, invite, join } from "../support/accounts.ts";
import { type Done, Folder, Server, unibus } from "../support/executable.ts";

const configOf = (folder: Folder) => folder.file(".config", "unibus", "config.json");
const config = (folder: Folder) => JSON.parse(readFileSync(configOf(folder), "utf8"));
const fields = ({ code, stdout, stderr }: Done) => ({ code, stderr, ...(code === 0 ? JSON.parse(stdout) : {}) });

test("join remembers the first server and its identity, and commands use both", async () => {
  await using server = await Server.start();
  const { folder } = server;
  expect(fields(await unibus(folder, ["whoami", "--json"]))).toMatchObject({ code: 1 });
  const joined = await unibus(folder, ["join", adminLink(server), "--identity", "admin.json"]);
  expect([joined.code, joined.stderr]).toEqual([0, expect.stringContaining(`commands now use ${server.ready.http}`)]);
  const file = folder.file("admin.json");
  expect(config(folder)).toMatchObject({ bus: server.ready.http, identity: file });
  expect(statSync(configOf(folder)).mode & 0o777).toBe(0o600);

  const me = await identityAt(folder, "admin.json");
  const here = { code: 0, stderr: "", url: server.ready.http, handle: "admin", endpoint: me.endpoint };
  expect(fields(await unibus(folder, ["whoami", "--json"]))).toMatchObject(here);
  expect(fields(await unibus(folder, ["identity", "show", "--json"]))).toMatchObject({ endpoint: me.endpoint });
  // It also works from another folder, because the stored path is absolute.
  mkdirSync(folder.file("elsewhere"));
  using elsewhere = new Folder();
  const env = { HOME: folder.path, XDG_CONFIG_HOME: folder.file(".config") };
  expect(fields(await unibus(elsewhere, ["whoami", "--json"], { env }))).toMatchObject(here);

  const room = await unibus(folder, ["room", "new", "room.team", "--mode", "matrix"]);
  expect([room.code, room.stderr]).toEqual([0, ""]);
}, 30_000);

test("a second server changes nothing before `use`, which also selects the identity that joined it", async () => {
  await using first = await Server.start();
  await using second = await Server.start();
  const { folder } = first;
  await firstAdminByCommand(first);
  const joined = await join(folder, adminLink(second), "second.json");
  expect([joined.code, joined.stderr]).toEqual([
    0,
    expect.stringContaining(
      `commands still use ${first.ready.http}; to use the new bus: ` +
        `unibus use ${second.ready.http} --identity ${folder.file("second.json")}\n`,
    ),
  ]);
  expect(config(folder)).toMatchObject({ bus: first.ready.http, identity: folder.file("admin.json") });

  // With two buses known, commands that change something say which one they used; reading commands do not.
  const made = await unibus(folder, ["room", "new", "room.team", "--mode", "matrix"]);
  expect([made.code, made.stderr]).toEqual([0, `bus: ${first.ready.http}\n`]);
  const sent = await unibus(folder, ["send", "room.team", "hello"]);
  expect([sent.code, sent.stderr]).toEqual([0, `bus: ${first.ready.http}\n`]);
  const read = await unibus(folder, ["history", "room.team"]);
  expect([read.code, read.stderr]).toEqual([0, ""]);

  const used = await unibus(folder, ["use", second.ready.http, "--json"]);
  expect(fields(used)).toMatchObject({ bus: second.ready.http, identity: folder.file("second.json") });
  expect(fields(await unibus(folder, ["whoami", "--json"]))).toMatchObject({ code: 0, url: second.ready.http });
  const named = await unibus(folder, ["whoami", "--json", "--url", first.ready.http]);
  expect(fields(named)).toMatchObject({ code: 0, url: first.ready.http, handle: "admin" });
  const listed = await unibus(folder, ["use"]);
  expect(listed.stdout).toBe(
    `* ${second.ready.http}\t${folder.file("second.json")}\n  ${first.ready.http}\t${folder.file("admin.json")}\n`,
  );
}, 30_000);

test("an option or the environment overrides what is remembered", async () => {
  using folder = new Folder();
  const use = (...args: string[]) => unibus(folder, ["use", ...args]);
  expect((await use()).stderr).toMatch(/^error: no bus is remembered \(choose one: unibus use URL\)/);
  expect((await use("HTTP://LOCALHOST:1/, http://127.0.0.1:2", "--identity", "x.json")).code).toBe(0);
  expect(config(folder)).toMatchObject({
    bus: "http://localhost:1,http://127.0.0.1:2",
    identity: folder.file("x.json"),
  });
  expect((await use("bus.example.org")).stderr).toContain('"bus.example.org" is not a server address');
  expect((await use("http://bus.example.org")).stderr).toContain("is not encrypted");
  await unibus(folder, ["identity", "new", "--out", "y.json"]);
  const whoami = (env: Record<string, string>) => unibus(folder, ["whoami"], { env });
  expect((await whoami({})).stderr).toContain("no identity at ");
  const away = await whoami({ UNIBUS_IDENTITY: "y.json", UNIBUS_URL: "http://127.0.0.1:3" });
  expect(away.stderr).toContain("cannot reach http://127.0.0.1:3");
});

test("a damaged file is named, never replaced, and spends no invite; a complete command line needs none", async () => {
  await using server = await Server.start();
  const { folder } = server;
  const admin = await firstAdminByCommand(server);
  writeFileSync(configOf(folder), "{");
  const { link } = await invite(server, admin, { handle: "Bea" });
  for (const args of [["whoami"], ["join", link, "--identity", "bea.json"], ["use", server.ready.http], ["use"]]) {
    const done = await unibus(folder, args);
    expect([args[0], done.code, done.stderr]).toEqual([
      args[0],
      1,
      expect.stringMatching(/^error: \S+config\.json is damaged \(remove it/),
    ]);
  }
  const named = await unibus(folder, ["whoami", "--url", server.ready.http, "--identity", "admin.json"]);
  expect([named.code, named.stderr]).toEqual([0, ""]);
  expect(readFileSync(configOf(folder), "utf8")).toBe("{");
  writeFileSync(configOf(folder), `\ufeff${JSON.stringify({ bus: server.ready.http })}`);
  expect((await join(folder, link, "bea.json")).code).toBe(0);
}, 20_000);

test("`use` without an address is refused, and changes nothing", async () => {
  using folder = new Folder();
  expect((await unibus(folder, ["use", "http://127.0.0.1:1"])).code).toBe(0);
  const before = readFileSync(configOf(folder), "utf8");
  for (const none of ["", ",", " , "]) {
    const { code, stderr } = await unibus(folder, ["use", none]);
    expect([code, stderr]).toEqual([
      1,
      expect.stringContaining(`error: ${JSON.stringify(none)} is not a server address`),
    ]);
  }
  expect(readFileSync(configOf(folder), "utf8")).toBe(before);
}, 20_000);
