/**
 * Host commands on a data directory whose server runs, has run, or never existed. Source: docs/protocol/identity.md.
 */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import manifest from "../../plugins.json";
import { firstAdmin, identityAt, join, tokenOf } from "../support/accounts.ts";
import { Folder, Server, unibus } from "../support/executable.ts";

test("only `user add` creates a new data directory; other commands refuse even an existing empty one", async () => {
  using folder = new Folder();
  mkdirSync(folder.file("empty"));
  const commands = [
    ["invite", "new", "Bea"],
    ["invite", "list"],
    ["invite", "cancel", "0".repeat(32)],
    ["user", "list"],
    ["user", "revoke", "0".repeat(64)],
    ["bot", "add", "robot", "--out", "bot.json"],
    ["backup", "--out", "backup.gz"],
    ["doctor"],
  ];
  for (const data of ["missing", "empty"]) {
    for (const args of commands) {
      const { code, stdout, stderr } = await unibus(folder, [...args, "--data", data]);
      const why = expect.stringMatching(
        new RegExp(`^error: there is no bus in ${data} \\(name its data directory with`),
      );
      expect([args, code, stdout, stderr]).toEqual([args, 1, "", why]);
    }
  }
  expect([existsSync(folder.file("missing")), readdirSync(folder.file("empty"))]).toEqual([false, []]);
  expect(existsSync(folder.file("bot.json"))).toBe(false);

  await unibus(folder, ["identity", "new", "--out", "ana.json"]);
  const add = () => unibus(folder, ["user", "add", "ana", "--identity", "ana.json", "--data", "missing"]);
  const added = await add();
  expect([added.code, added.stderr]).toEqual([
    0,
    expect.stringContaining("created a new bus in missing, where there was none"),
  ]);
  expect((await unibus(folder, ["invite", "new", "Bea", "--data", "missing"])).code).toBe(0);
}, 60_000);

test("after the server stopped, invites use its last plugins and address", async () => {
  using folder = new Folder();
  // Flags that only this file declares, and no store by another name.
  const renamed = { ...manifest, flags: { ...manifest.flags, mine: true } };
  const plugins = renamed.plugins.map((row) => (row.use === "invites" ? { ...row, when: "mine" } : row));
  writeFileSync(folder.file("my-plugins.json"), JSON.stringify({ ...renamed, plugins }));
  const server = await Server.start({ folder, args: ["--plugins", "my-plugins.json"] });
  await firstAdmin(server);
  const { http } = server.ready;
  expect(await server.end()).toBe(0);

  const made = await unibus(folder, ["invite", "new", "Bea", "--data", "data"]);
  expect([made.code, made.stdout]).toEqual([0, expect.stringMatching(new RegExp(`^${http}/join#[0-9a-f]{64}\n$`))]);
  using elsewhere = new Folder();
  const far = await unibus(elsewhere, ["invite", "list", "--data", folder.file("data"), "--json"]);
  expect(JSON.parse(far.stdout).invites).toHaveLength(1);

  const address = http.replace("http://", "");
  await using again = await Server.start({ folder, args: ["--plugins", "my-plugins.json", "--http", address] });
  expect((await join(folder, made.stdout, "bea.json")).code).toBe(0);
  expect((await identityAt(folder, "bea.json")).endpoint).toHaveLength(43);
  await again.end();

  renameSync(folder.file("my-plugins.json"), folder.file("moved.json"));
  const lost = await unibus(folder, ["invite", "new", "Cy", "--data", "data"]);
  expect([lost.code, lost.stderr]).toEqual([
    1,
    expect.stringMatching(/my-plugins\.json, with which data was last served/),
  ]);
  const named = await unibus(folder, ["invite", "new", "Cy", "--data", "data", "--plugins", "moved.json"]);
  expect([named.code, tokenOf(named.stdout.trim())]).toEqual([0, expect.stringMatching(/^[0-9a-f]{64}$/)]);
}, 60_000);

test("a public URL is remembered, and the record of version 0.1.0 is read", async () => {
  using folder = new Folder();
  const args = ["--public-url", "https://bus.example.org/chat"];
  const server = await Server.start({ folder, args });
  expect(await server.end()).toBe(0);
  const made = await unibus(folder, ["invite", "new", "Bea", "--data", "data"]);
  expect(made.stdout).toStartWith("https://bus.example.org/chat/join#");

  rmSync(folder.file("data", "served.json"));
  writeFileSync(folder.file("data", "flags.json"), JSON.stringify({ decentralized: false }));
  expect((await unibus(folder, ["invite", "new", "Cy", "--data", "data"])).code).toBe(0);
  writeFileSync(folder.file("data", "flags.json"), "{");
  const damaged = await unibus(folder, ["invite", "new", "Di", "--data", "data"]);
  expect([damaged.code, damaged.stderr]).toEqual([
    1,
    expect.stringMatching(/^error: .*flags\.json is damaged \(remove it/),
  ]);
}, 60_000);
