/**
 * The life of a server process: readiness files, shutdown on signals, the lock on the data directory, recovery after a
 * kill -9, and restarts of a crashed nats-server. Invariants: the server leaves no process behind, and never ends a
 * process that it did not start.
 */
import { describe, expect, test } from "bun:test";
import { chmodSync, existsSync, readdirSync, readFileSync, realpathSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { recordOf } from "../../src/plugins/nats-embedded/process-record.ts";
import { Folder, isAlive, Server, unibus, until } from "../support/executable.ts";
import { addUser, createRoom, dial, history, policy, send } from "../support/peer.ts";

const mode = (file: string): string => (statSync(file).mode & 0o777).toString(8);
const statusOf = async (server: Server, path: string): Promise<number> =>
  (await send(`${server.ready.http}${path}`)).status;

/** Path of the nats-server binary in a data directory. */
function carried(server: Server): string {
  const bin = join(server.data, "nats", "bin");
  return join(bin, readdirSync(bin).find((name) => /^nats-server-[0-9a-f]+$/.test(name)) ?? "missing");
}

describe("a ready server", () => {
  test("writes its addresses to ready.json, for its owner only, and prints them", async () => {
    await using server = await Server.start({ unpacks: true });
    const ready = JSON.parse(readFileSync(join(server.data, "ready.json"), "utf8"));
    expect(ready).toEqual({
      pid: server.pid,
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
      http: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
      nats: expect.stringMatching(/^nats:\/\/127\.0\.0\.1:\d+$/),
      ws: expect.stringMatching(/^ws:\/\/127\.0\.0\.1:\d+$/),
      nats_pid: expect.any(Number),
    });
    expect(isAlive(ready.nats_pid)).toBe(true);
    expect((await send(`${ready.http}/info`)).json).toMatchObject({
      nats: [ready.nats],
      ws: [ready.ws, `${ready.http.replace("http:", "ws:")}/nats`],
    });
    expect(readFileSync(join(server.data, "serving.json"), "utf8")).toBe(`${JSON.stringify(ready)}\n`);
    for (const file of [
      "ready.json",
      "serving.json",
      "internal.json",
      "unibus.db",
      "serve.pid",
      "admin-link",
      "nats/nats.conf",
    ]) {
      expect([file, mode(join(server.data, file))]).toEqual([file, "600"]);
    }
    for (const folder of ["", "nats", "nats/bin"]) expect(mode(join(server.data, folder))).toBe("700");
    expect(mode(carried(server))).toBe("700");
    await server.end();
    const { stdout } = await server.output();
    for (const address of [ready.http, ready.nats, ready.ws]) expect(stdout).toContain(`${address}\n`);
  }, 30_000);

  test.each(["SIGTERM", "SIGINT"] as const)(
    "exits with 0 on %s, and leaves no process and no ready.json",
    async (signal) => {
      await using server = await Server.start();
      expect(await server.end(signal)).toBe(0);
      expect(isAlive(server.ready.nats_pid)).toBe(false);
      for (const name of ["ready.json", "serving.json", "serve.pid"])
        expect(existsSync(join(server.data, name))).toBe(false);
      const { stderr } = await server.output();
      expect(stderr).not.toMatch(/"level":(50|60)/);
    },
    30_000,
  );

  test("writes ready.json only when /readyz answers 200, and serving.json before, for commands on the host", async () => {
    using folder = new Folder();
    const plugin = `import { definePlugin, Type } from "unibus/plugin";
      import { existsSync } from "node:fs";
      const health = async () => ({ ok: existsSync(${JSON.stringify(folder.file("go"))}), detail: "no go yet" });
      export default definePlugin({ name: "slow", api: 1, config: Type.Object({}),
        setup: async () => ({ services: {}, health }) });`;
    writeFileSync(folder.file("slow.ts"), plugin);
    const rows = ["nats-embedded", "store-sqlite", "room-streams", "auth", "users", "invites", "./slow.ts"];
    writeFileSync(folder.file("plugins.json"), JSON.stringify({ plugins: rows.map((use) => ({ use })) }));
    const starting = Server.start({ folder, args: ["--plugins", "plugins.json"] });
    const file = folder.file("data", "serving.json");
    await until("serving.json exists", () => existsSync(file));
    const { http, nats_pid } = JSON.parse(readFileSync(file, "utf8"));
    expect((await send(`${http}/readyz`)).json).toMatchObject({ ready: false, plugins: { slow: { ok: false } } });
    const list = await unibus(folder, ["user", "list", "--data", "data", "--plugins", "plugins.json"]);
    expect(list.code).toBe(0);
    // Restarting nats-server does not make it ready either.
    process.kill(nats_pid, "SIGTERM");
    await until("its pid is updated", () => JSON.parse(readFileSync(file, "utf8")).nats_pid !== nats_pid);
    await until("only one plugin is not ready", async () => {
      const { plugins } = (await send(`${http}/readyz`)).json as { plugins: Record<string, { ok: boolean }> };
      return Object.entries(plugins).every(([name, { ok }]) => ok === (name !== "slow"));
    });
    expect(existsSync(folder.file("data", "ready.json"))).toBe(false);
    expect(existsSync(folder.file("data", "admin-link"))).toBe(false);
    writeFileSync(folder.file("go"), "");
    await using server = await starting;
    expect(await statusOf(server, "/readyz")).toBe(200);
    expect(readFileSync(join(server.data, "ready.json"), "utf8")).toBe(readFileSync(file, "utf8"));
    expect(server.ready.nats_pid).not.toBe(nats_pid);
    await server.end();
    const { stderr } = await server.output();
    expect(stderr).toContain("not ready yet: slow: no go yet");
    expect(stderr).toContain("nats-server ended: shut down by a signal of another process");
  }, 60_000);

  test("can be stopped while it boots, and leaves nothing", async () => {
    using folder = new Folder();
    await using first = await Server.start({ folder });
    await first.end();
    const plugin = `import { definePlugin, Type } from "unibus/plugin";
      export default definePlugin({ name: "asking", api: 1, config: Type.Object({}), setup: async () => {
        process.kill(process.pid, "SIGTERM");
        return { services: {} };
      } });`;
    writeFileSync(folder.file("asking.ts"), plugin);
    writeFileSync(folder.file("plugins.json"), '{"plugins": [{"use": "nats-embedded"}, {"use": "./asking.ts"}]}');
    const addresses = ["--http", "--nats", "--ws"].flatMap((name) => [name, "127.0.0.1:0"]);
    const done = await unibus(folder, ["serve", "--data", "data", "--plugins", "plugins.json", ...addresses]);
    expect(done.code).toBe(0);
    expect(existsSync(folder.file("data", "ready.json"))).toBe(false);
  }, 30_000);

  test("exits at once on a second signal, whatever a plugin is doing", async () => {
    using folder = new Folder();
    const plugin = `import { definePlugin, Type } from "unibus/plugin";
      export default definePlugin({ name: "clinging", api: 1, config: Type.Object({}), setup: async ({ onStop, log }) => {
        onStop(() => { log.info("holding on"); return new Promise(() => {}); });
        return { services: {} };
      } });`;
    writeFileSync(folder.file("clinging.ts"), plugin);
    writeFileSync(folder.file("plugins.json"), '{"plugins": [{"use": "nats-embedded"}, {"use": "./clinging.ts"}]}');
    await using server = await Server.start({ folder, args: ["--plugins", "plugins.json"] });
    process.kill(server.pid, "SIGTERM");
    await until("ready.json is removed", () => !existsSync(join(server.data, "ready.json")));
    const asked = performance.now();
    process.kill(server.pid, "SIGTERM");
    expect(await server.exited).toBe(1);
    // A release callback has ten seconds; the server did not wait for it.
    expect(performance.now() - asked).toBeLessThan(5_000);
    await until("nats-server ended", () => !isAlive(server.ready.nats_pid));
  }, 30_000);

  test("locks its data directory: a second server is refused with the pid of the first, and does not disturb it", async () => {
    await using server = await Server.start();
    const before = readFileSync(join(server.data, "ready.json"), "utf8");
    const done = await unibus(server.folder, ["serve", "--data", server.data, "--http", "127.0.0.1:0"]);
    expect(done.code).toBe(1);
    const hint = "stop it, or choose another directory with --data";
    expect(done.stderr).toBe(`error: data directory ${server.data} is served by process ${server.pid} (${hint})\n`);
    expect(readFileSync(join(server.data, "ready.json"), "utf8")).toBe(before);
    expect(readFileSync(join(server.data, "serve.pid"), "utf8")).toBe(String(server.pid));
    expect(await statusOf(server, "/readyz")).toBe(200);
    expect(isAlive(server.ready.nats_pid)).toBe(true);
  }, 30_000);
});

describe("a killed server", () => {
  test("takes its nats-server down, and the next start cleans up", async () => {
    using folder = new Folder();
    await using killed = await Server.start({ folder });
    await killed.end("SIGKILL");
    await until("nats-server ended", () => !isAlive(killed.ready.nats_pid));
    expect(existsSync(join(killed.data, "ready.json"))).toBe(true);
    await using next = await Server.start({ folder });
    expect(await statusOf(next, "/readyz")).toBe(200);
  }, 30_000);

  test("can leave half a file of disk limits, which the next start computes again", async () => {
    using folder = new Folder();
    const file = folder.file("data", "nats", "limits.json");
    const start = async () => void (await (await Server.start({ folder })).end());
    await start();
    for (const left of ["", '{"bus":1', "null", "{}", '{"bus":"much","ctl":-1}']) {
      writeFileSync(file, left);
      await start();
      expect(JSON.parse(readFileSync(file, "utf8"))).toEqual({ bus: expect.any(Number), ctl: expect.any(Number) });
    }
  }, 60_000);

  test("can leave a nats-server, which the next start ends", async () => {
    using folder = new Folder();
    await using killed = await Server.start({ folder });
    await killed.end("SIGKILL");
    await until("nats-server ended", () => !isAlive(killed.ready.nats_pid));
    const nats = join(killed.data, "nats");
    const orphan = Bun.spawn([carried(killed), "-c", join(nats, "nats.conf")], { stderr: "ignore", stdout: "ignore" });
    writeFileSync(join(nats, "process.json"), JSON.stringify(recordOf(orphan.pid, carried(killed))));
    await using next = await Server.start({ folder });
    await orphan.exited;
    expect(next.ready.nats_pid).not.toBe(orphan.pid);
    expect(await statusOf(next, "/readyz")).toBe(200);
    await next.end();
    expect((await next.output()).stderr).toContain("stopping the nats-server that a crashed unibus left running");
  }, 30_000);

  test("can leave a pid that now belongs to another process, which is left alone", async () => {
    using folder = new Folder();
    await using killed = await Server.start({ folder });
    await killed.end("SIGKILL");
    await until("nats-server ended", () => !isAlive(killed.ready.nats_pid));
    const foreign = Bun.spawn(["sleep", "600"]);
    try {
      for (const name of ["nats/nats.pid", "serve.pid"]) writeFileSync(join(killed.data, name), String(foreign.pid));
      await using next = await Server.start({ folder });
      expect(await statusOf(next, "/readyz")).toBe(200);
      expect(isAlive(foreign.pid)).toBe(true);
      await next.end();
      expect(isAlive(foreign.pid)).toBe(true);
    } finally {
      foreign.kill("SIGKILL");
    }
  }, 30_000);

  test("causes no other process to be ended because of its arguments or the recorded pid", async () => {
    using folder = new Folder();
    await using killed = await Server.start({ folder });
    await killed.end("SIGKILL");
    await until("nats-server ended", () => !isAlive(killed.ready.nats_pid));
    const nats = join(killed.data, "nats");
    // For example an editor with the file open: another executable whose command line names our configuration.
    const foreign = Bun.spawn(["sh", "-c", "read _", join(nats, "nats.conf")], { stdin: "pipe" });
    const own = recordOf(foreign.pid, carried(killed));
    const records: unknown[] = [
      own,
      { ...own, executable: realpathSync("/bin/sh"), started: `${own?.started}0` },
      { ...own, executable: realpathSync("/bin/sh"), started: "" },
      foreign.pid,
    ];
    try {
      for (const record of records) {
        writeFileSync(join(nats, "nats.pid"), String(foreign.pid));
        writeFileSync(join(nats, "process.json"), JSON.stringify(record));
        await using next = await Server.start({ folder });
        expect(isAlive(foreign.pid)).toBe(true);
        await next.end();
        expect(isAlive(foreign.pid)).toBe(true);
      }
    } finally {
      foreign.kill("SIGKILL");
    }
  }, 60_000);

  test.each(["garbage", "", "-1", "0", "1"])(
    "can leave an invalid pid file: %j",
    async (text) => {
      using folder = new Folder();
      await using first = await Server.start({ folder });
      await first.end();
      for (const name of ["nats.pid", "process.json"]) writeFileSync(join(first.data, "nats", name), text);
      await using next = await Server.start({ folder });
      expect(await statusOf(next, "/readyz")).toBe(200);
    },
    30_000,
  );
});

describe("a nats-server that dies", () => {
  test("is restarted on the same ports; /readyz is 503 until then, and rooms keep their frames", async () => {
    await using server = await Server.start({ unpacks: true });
    const ana = await addUser(server, "ana");
    const room = await createRoom(server, ana, policy("persist"));
    const before = await dial(server, ana);
    // Use a request, which is acknowledged: a plain publish may still be in flight when nats-server is killed.
    await before.request(room.state.subject, "before");
    await before.close();

    // Without execute permission nats-server cannot restart until the test allows it.
    const binary = carried(server);
    chmodSync(binary, 0o000);
    process.kill(server.ready.nats_pid, "SIGKILL");
    await until("/readyz is 503", async () => (await statusOf(server, "/readyz")) === 503);
    const unready = await send(`${server.ready.http}/readyz`);
    expect(unready.json).toMatchObject({ ready: false, plugins: { "nats-embedded": { ok: false } } });
    expect(await statusOf(server, "/healthz")).toBe(200);
    chmodSync(binary, 0o700);
    await until("/readyz is 200", async () => (await statusOf(server, "/readyz")) === 200);

    expect((await send(`${server.ready.http}/info`)).json).toMatchObject({ nats: [server.ready.nats] });
    const after = await dial(server, ana);
    after.publish(room.state.subject, "after");
    await after.flush();
    await after.close();
    await until("both frames are stored", async () => (await history(server, ana, room)).length === 2);
    expect((await history(server, ana, room)).map(String)).toEqual(["before", "after"]);

    const restarted = Number(readFileSync(join(server.data, "nats", "nats.pid"), "utf8"));
    expect(restarted).not.toBe(server.ready.nats_pid);
    for (const name of ["ready.json", "serving.json"]) {
      expect(JSON.parse(readFileSync(join(server.data, name), "utf8"))).toEqual({
        ...server.ready,
        nats_pid: restarted,
      });
    }
    expect(await server.end()).toBe(0);
    expect(isAlive(restarted)).toBe(false);
    expect((await server.output()).stderr).toContain("nats-server ended: killed by SIGKILL");
  }, 60_000);
});

/** All processes of a process tree, as /proc shows them. */
function tree(pid: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))) {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8").replace(/^.*\) /s, "");
      parents.set(Number(name), Number(stat.split(" ")[1]));
    } catch {
      // The process ended after the folder was read.
    }
  }
  const below = (parent: number): number[] =>
    [...parents].filter(([, above]) => above === parent).flatMap(([child]) => [child, ...below(child)]);
  return [pid, ...below(pid)];
}

test("no secret appears in a command line, an environment or the log", async () => {
  await using server = await Server.start({ env: { UNIBUS_DEBUG: "1" } });
  const link = readFileSync(join(server.data, "admin-link"), "utf8");
  await addUser(server, "ana");
  const internal = JSON.parse(readFileSync(join(server.data, "internal.json"), "utf8"));
  const secrets: string[] = [internal.issuer_seed, ...Object.values<string>(internal.passwords)];
  secrets.push(new URL(link.trim()).hash.slice(1));
  expect(secrets.filter((secret) => secret.length > 20)).toHaveLength(6);
  const pids = tree(server.pid);
  expect(pids).toContain(server.ready.nats_pid);
  const seen = pids.flatMap((pid) =>
    ["cmdline", "environ"].map((name) => readFileSync(`/proc/${pid}/${name}`, "utf8")),
  );
  await server.end();
  const { stdout, stderr } = await server.output();
  for (const secret of secrets) expect([...seen, stdout, stderr].some((text) => text.includes(secret))).toBe(false);
}, 30_000);

test("files in the working directory have no effect, whatever their names", async () => {
  using folder = new Folder();
  const evil = `require("node:fs").writeFileSync(${JSON.stringify(folder.file("ran"))}, "");`;
  const planted: Record<string, string> = {
    "bunfig.toml": 'preload = ["./evil.ts"]\n[test]\npreload = ["./evil.ts"]\n',
    ".env": "UNIBUS_FLAGS=evil=on\nUNIBUS_SET=evil.key=1\nUNIBUS_LOG=text\nUNIBUS_DEBUG=1\n",
    ".env.local": "UNIBUS_PLUGINS=./evil.json\n",
    ".env.production": "UNIBUS_PLUGINS=./evil.json\n",
    "package.json": '{"name":"evil","type":"commonjs","imports":{"#nats":"./evil.ts"},"main":"./evil.ts"}',
    "tsconfig.json": '{"compilerOptions":{"paths":{"*":["./evil.ts"]}}}',
    "plugins.json": '{"plugins":[{"use":"./evil.ts"}]}',
    "evil.ts": evil,
  };
  for (const [name, text] of Object.entries(planted)) writeFileSync(folder.file(name), text);
  await using server = await Server.start({ folder });
  expect((await send(`${server.ready.http}/healthz`)).json).toMatchObject({ flags: {}, posture: { store: "sqlite" } });
  expect(await statusOf(server, "/readyz")).toBe(200);
  await server.end();
  expect(existsSync(folder.file("ran"))).toBe(false);
  const { stderr } = await server.output();
  for (const line of stderr.trim().split("\n")) expect(JSON.parse(line)).toBeObject();
  expect(stderr).not.toContain("evil");
}, 30_000);
