/**
 * Users' tokens, links and keys must not appear in command lines, environments, logs or replies.
 * Source: docs/protocol/identity.md, docs/threat-model.md.
 */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join as path } from "node:path";
import { adminLink, firstAdminByCommand, identityAt, invite, join, register, tokenOf } from "../support/accounts.ts";
import { isAlive, Server, unibus } from "../support/executable.ts";
import { secretsOf } from "../support/inside.ts";
import { call } from "../support/peer.ts";

const read = (file: string) => {
  try {
    return readFileSync(file, "latin1");
  } catch {
    return "";
  }
};

/** Returns what other users of the machine can see of a process and all its descendants. */
function shownBy(root: number): string {
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc").filter((one) => /^\d+$/.test(one))) {
    parents.set(Number(name), Number(/^PPid:\s+(\d+)$/m.exec(read(`/proc/${name}/status`))?.[1] ?? 0));
  }
  const isBelow = (pid: number): boolean =>
    pid === root || ((parents.get(pid) ?? 0) > 0 && isBelow(parents.get(pid) ?? 0));
  const tree = [...parents.keys()].filter(isBelow);
  expect(tree.length).toBeGreaterThanOrEqual(2);
  return tree.map((pid) => `${read(`/proc/${pid}/cmdline`)}\n${read(`/proc/${pid}/environ`)}`).join("\n");
}

/** Returns the text of every file in the data directory, except files that hold secrets by design. */
function stateOf(folder: string): string {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true });
  const kept = files.filter((entry) => entry.isFile() && !/^(nats-server-|internal\.json|admin-link)/.test(entry.name));
  return kept.map(({ parentPath, name }) => read(path(parentPath, name))).join("\n");
}

test("no credential appears in an argument, a log, or the state of the server", async () => {
  await using server = await Server.start({ env: { UNIBUS_DEBUG: "1" }, args: ["--set", "http.access_log=true"] });
  const { folder } = server;
  const { http } = server.ready;
  const firstLink = adminLink(server);
  const admin = await firstAdminByCommand(server);
  const made = await invite(server, admin, { handle: "ana" });
  const cancelled = await invite(server, admin, { handle: "bo" });
  const byHost = await unibus(folder, ["invite", "new", "cy", "--data", "data"], { env: { UNIBUS_DEBUG: "1" } });
  const bot = await unibus(folder, ["bot", "add", "robot", "--out", "bot.json", "--data", "data"]);

  // Redeemed, refused, repeated and malformed in every field: each path could write a secret to a log.
  const joined = await join(folder, made.link, "ana.json");
  const ana = await identityAt(folder, "ana.json");
  const robot = await identityAt(folder, "bot.json");
  const late = await join(folder, made.link, "late.json");
  await register(http, tokenOf(byHost.stdout.trim()), ana);
  await call(http, admin, "DELETE", `/invites/${cancelled.id}`);
  const body = { token: cancelled.token, sign_pub: "zz", kex_pub: 1 };
  await call(http, null, "POST", "/register", body);
  await call(http, null, "POST", `/register?token=${cancelled.token}`, body);
  await call(http, null, "GET", `/join?token=${cancelled.token}`);
  await call(http, ana, "GET", "/invites");
  const listed = await call(http, admin, "GET", "/invites");

  const internal = secretsOf(server);
  const tokens = [firstLink, made.link, byHost.stdout.trim()].map(tokenOf).concat(cancelled.token);
  const keys = [admin, ana, robot].flatMap(({ signPriv, kexPriv }) =>
    [signPriv, signPriv.subarray(0, 32), kexPriv].flatMap((bytes) => [
      Buffer.from(bytes).toString("hex"),
      Buffer.from(bytes).toString("base64").replace(/=+$/, "").slice(0, 40),
    ]),
  );
  const passwords = [internal.issuer_seed, ...Object.values(internal.passwords)];
  const secrets = [...tokens, ...keys, ...passwords];
  expect(tokens.every((token) => /^[0-9a-f]{64}$/.test(token))).toBe(true);
  const expectNone = (where: string, text: string, which: readonly string[] = secrets): void => {
    for (const secret of which) expect([where, text.includes(secret)]).toEqual([where, false]);
  };

  expect([joined.code, late.code, bot.code]).toEqual([0, 1, 0]);
  expectNone("process tree", shownBy(server.pid));
  // The command that creates a link prints it, on stdout only.
  for (const [where, { stdout, stderr }] of Object.entries({ joined, late, bot })) expectNone(where, stdout + stderr);
  expectNone("stderr of invite new", byHost.stderr);
  expectNone("list of invites", listed.text);
  expectNone("users", (await call(http, admin, "GET", "/users")).text);
  expectNone("info", (await call(http, null, "GET", "/info")).text);
  // unibus passes the internal passwords to its own nats-server in a file that only the owner can read.
  const ofPeople = [...tokens, ...keys];
  expectNone("state", stateOf(server.data), ofPeople);
  for (const name of ["admin-link", "internal.json"]) {
    expect([name, statSync(path(server.data, name)).mode & 0o777]).toEqual([name, 0o600]);
  }

  const { nats_pid } = server.ready;
  expect(await server.end()).toBe(0);
  expect(isAlive(nats_pid)).toBe(false);
  const { stdout, stderr } = await server.output();
  expect(stderr).toContain('"/register"');
  expectNone("log", stdout + stderr);
  expectNone("state after the end", stateOf(server.data), ofPeople);
}, 30_000);
