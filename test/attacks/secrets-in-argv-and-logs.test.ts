/**
 * Secrets must not appear in command lines, environments, logs or files that other users can read.
 * Source: docs/threat-model.md.
 */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import { Server } from "../support/executable.ts";
import { castOf, secretsOf } from "../support/inside.ts";
import { call, createRoom, dial, history, policy } from "../support/peer.ts";
import { loginOf, RawNats } from "../support/raw-nats.ts";

const textOf = (pid: number, file: string) => readFileSync(`/proc/${pid}/${file}`, "utf8").replaceAll("\0", " ");

test("no secret appears in a command line, an environment or a log, and all state is readable by its owner only", async () => {
  await using server = await Server.start({ env: { UNIBUS_DEBUG: "1" }, args: ["--set", "http.access_log=true"] });
  const people = await castOf(server, "ana");
  const room = await createRoom(server, people.ana, policy("encrypt", "persist"));
  const ana = await dial(server, people.ana);
  await ana.request(room.state.subject, "a frame that no log shows");
  await ana.close();
  await history(server, people.ana, room);
  using refused = await RawNats.open(server.ready.nats);
  await refused.login(loginOf(await generateIdentity(), refused));
  await call(server.ready.http, null, "GET", "/directory?token=a-query-that-no-log-shows");

  const { issuer_seed, passwords } = secretsOf(server);
  const secrets = [issuer_seed, ...Object.values(passwords)];
  expect(secrets).toHaveLength(5);
  for (const pid of [server.ready.pid, server.ready.nats_pid]) {
    const shown = `${textOf(pid, "cmdline")} ${textOf(pid, "environ")}`;
    expect(shown).toMatch(/nats/);
    for (const secret of secrets) expect(shown).not.toContain(secret);
  }

  const open: string[] = [];
  const walk = (folder: string): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      // Other users cannot enter a folder without permissions.
      if (entry.isDirectory() && (statSync(path).mode & 0o077) !== 0) walk(path);
      else if (entry.isFile() && (statSync(path).mode & 0o077) !== 0) open.push(entry.name);
    }
  };
  if ((statSync(server.data).mode & 0o077) !== 0) walk(server.data);
  expect(open).toEqual([]);
  for (const file of ["internal.json", join("nats", "nats.conf"), "nonces"]) {
    expect([file, statSync(join(server.data, file)).mode & 0o077]).toEqual([file, 0]);
  }

  expect(await server.end()).toBe(0);
  const { stdout, stderr } = await server.output();
  const logs = stdout + stderr;
  expect(logs).toContain("/rooms");
  for (const secret of secrets) expect(logs).not.toContain(secret);
  const seen = [
    "a frame that no log shows",
    "a-query-that-no-log-shows",
    Buffer.from(room.key ?? []).toString("base64"),
  ];
  for (const text of seen) expect(logs).not.toContain(text);
}, 20_000);
