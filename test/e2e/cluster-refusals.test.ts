/** `cluster init`, and clusters that refuse to start. Source: docs/protocol/requests.md. */
import { describe, expect, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { freePorts } from "../support/cluster.ts";
import { executable, Folder, Server, unibus } from "../support/executable.ts";
import { refusal } from "./refusal.ts";

describe("unibus cluster init", () => {
  test("writes a new secret each time, for its owner only, and overwrites nothing", async () => {
    using folder = new Folder();
    const secrets = new Set<string>();
    for (const name of ["one", "two"]) {
      const done = await unibus(folder, ["cluster", "init", "--out", name, "--json"]);
      expect(done).toMatchObject({ code: 0, stdout: `{"secret_file":"${name}"}\n` });
      expect(statSync(folder.file(name)).mode & 0o777).toBe(0o600);
      const text = readFileSync(folder.file(name), "utf8");
      expect(text).toMatch(/^[A-Za-z0-9+/]{43}=\n$/);
      expect(done.stdout + done.stderr).not.toContain(text.trim());
      secrets.add(text);
    }
    expect(secrets.size).toBe(2);
    const again = await unibus(folder, ["cluster", "init", "--out", "one"]);
    expect(again).toMatchObject({ code: 1, stdout: "" });
    expect(again.stderr).toContain("error: one exists (it is never overwritten");
    expect(secrets.has(readFileSync(folder.file("one"), "utf8"))).toBe(true);
    expect(await unibus(folder, ["cluster", "init"])).toMatchObject({ code: 2, stdout: "" });
  });
});

describe("serve refuses a cluster at once", () => {
  const kv = ["--flag", "decentralized=on"];
  const cases: readonly (readonly [string, readonly string[], object, string])[] = [
    ["on SQLite", [], {}, "the store in this plan supports a single node only (use the shared one with --flag decent"],
    ["in soft mode", [...kv, "--set", "auth.mode=soft"], {}, "a cluster needs auth.mode enforce, not soft (set auth."],
    [
      "without a secret",
      kv,
      { secret_file: undefined },
      ".secret_file: a cluster needs a secret (create one for all nodes",
    ],
    [
      "without TLS beyond loopback",
      kv,
      { listen: "0.0.0.0:6259" },
      ".tls: routes to other machines (0.0.0.0) need TLS",
    ],
    ["with one route", kv, { routes: ["nats-route://127.0.0.1:1"] }, "cluster"],
    ["with an unknown key", kv, { secret: "x" }, "unknown key cluster.secret (known keys: server_name, name, listen, "],
  ];
  test.each(cases)("%s", async (_, args, otherwise, message) => {
    using folder = new Folder();
    expect(await unibus(folder, ["cluster", "init", "--out", "secret"])).toMatchObject({ code: 0 });
    const routes = (await freePorts(3)).map((port) => `nats-route://127.0.0.1:${port}`);
    const right = { server_name: "a", name: "c", listen: routes[0]?.slice(13), routes, secret_file: "secret" };
    const setting = JSON.stringify({ ...right, ...otherwise });
    const line = await refusal(folder, [...args, "--set", `nats-embedded.cluster=${setting}`]);
    expect(line).toContain("nats-embedded");
    expect(line).toContain(message);
  });

  test("in the data directory of a standalone node, and leaves its contents unchanged", async () => {
    using folder = new Folder();
    expect(await unibus(folder, ["cluster", "init", "--out", "secret"])).toMatchObject({ code: 0 });
    const routes = (await freePorts(3)).map((port) => `nats-route://127.0.0.1:${port}`);
    const setting = { server_name: "a", name: "c", listen: routes[0]?.slice(13), routes, secret_file: "secret" };
    await (await Server.start({ folder, args: kv })).end();
    const args = [...kv, "--set", `nats-embedded.cluster=${JSON.stringify(setting)}`];
    expect(await refusal(folder, args)).toContain(
      "this data directory belongs to a standalone node, whose streams a cluster would",
    );
    await (await Server.start({ folder, args: kv })).end();
  });
});

test("a node that waits for the others exits at once on a signal", async () => {
  using folder = new Folder();
  expect(await unibus(folder, ["cluster", "init", "--out", "secret"])).toMatchObject({ code: 0 });
  const routes = (await freePorts(3)).map((port) => `nats-route://127.0.0.1:${port}`);
  const setting = { server_name: "a", name: "c", listen: routes[0]?.slice(13), routes, secret_file: "secret" };
  const booting = unibusWaiting(folder, [
    "--flag",
    "decentralized=on",
    "--set",
    `nats-embedded.cluster=${JSON.stringify(setting)}`,
  ]);
  await booting.waits;
  const begun = performance.now();
  booting.child.kill("SIGTERM");
  expect(await booting.child.exited).toBe(0);
  expect(performance.now() - begun).toBeLessThan(5_000);
});

/** Runs `serve` on a data directory; `waits` resolves once it reports that it waits for other nodes. */
function unibusWaiting(folder: Folder, args: readonly string[]) {
  const free = ["--http", "--nats", "--ws"].flatMap((name) => [name, "127.0.0.1:0"]);
  const child = Bun.spawn([executable, "serve", "--data", "data", ...free, ...args], {
    cwd: folder.path,
    env: { PATH: process.env.PATH ?? "", HOME: folder.path },
    ...{ stdin: "ignore", stdout: "ignore", stderr: "pipe" },
  });
  const waits = (async () => {
    let log = "";
    for await (const chunk of child.stderr) {
      log += Buffer.from(chunk).toString();
      if (log.includes("waiting for the other nodes")) return;
    }
    throw new Error(`it does not wait: ${log}`);
  })();
  return { child, waits };
}
