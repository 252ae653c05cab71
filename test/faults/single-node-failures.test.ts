/**
 * Failures of a single node: what /readyz, the log and users see, and that the node recovers without a restart. A full
 * disk, a disk without exec, no file descriptors, a killed or stopped nats-server, a removed data directory. A lost
 * node of a cluster of three: cluster-leader.test.ts. Clocks: test/e2e/clocks.test.ts. Tests
 * that need a disk of their own must run as root, to mount a tmpfs, and are skipped otherwise.
 */
import { expect, test } from "bun:test";
import { readFileSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { executable, Folder, isAlive, Server, unibus, until } from "../support/executable.ts";
import { castOf } from "../support/inside.ts";
import {
  call,
  createBody,
  createRoom,
  dial,
  freshSubject,
  history,
  newRoom,
  type OwnRoom,
  policy,
  send,
} from "../support/peer.ts";
import { SmallDisk } from "../support/small-disk.ts";

const probe = SmallDisk.mount(1_048_576);
const canMount = probe !== null;
probe?.[Symbol.dispose]();
if (!canMount)
  console.info("single-node-failures: tests with a small disk are not run: they need root to mount a tmpfs");
const leaveOut = () => undefined;
const onSmallDisk = canMount ? test : leaveOut;
const onLinux = process.platform === "linux" ? test : leaveOut;

/** Returns the status of /readyz, and the cause for each plugin that is not ready. */
async function readiness(server: Server): Promise<{ status: number; faults: Record<string, string> }> {
  const { status, json } = await send(`${server.ready.http}/readyz`);
  const plugins = json.plugins as Record<string, { ok: boolean; detail?: string }>;
  const faulty = Object.entries(plugins).filter(([, { ok }]) => !ok);
  return { status, faults: Object.fromEntries(faulty.map(([name, { detail = "" }]) => [name, detail])) };
}

const untilReady = (server: Server) =>
  until("the server has recovered", async () => (await readiness(server).catch(() => null))?.status === 200, 60_000);

/** Waits until /readyz reports this cause for the plugin. */
async function untilFault(server: Server, plugin: string, cause: RegExp): Promise<void> {
  await until(`${plugin}: ${cause}`, async () => {
    const { status, faults } = await readiness(server);
    return status === 503 && cause.test(faults[plugin] ?? "");
  });
}

/** Ends the server and returns the messages that it logged. */
async function logOf(server: Server): Promise<string[]> {
  await server.end();
  const { stderr } = await server.output();
  const lines = stderr.split("\n").filter((line) => line.startsWith("{"));
  return lines.map((line) => (JSON.parse(line) as { msg: string }).msg);
}

const count = (lines: readonly string[], shape: RegExp) => lines.filter((line) => shape.test(line)).length;

/** Publishes one message to a persisted room. Returns whether it was stored. */
async function isStored(server: Server, ana: Identity, room: OwnRoom, text: string): Promise<boolean> {
  // Dialling fails while nats-server restarts.
  const peer = await dial(server, ana).catch(() => null);
  if (peer === null) return false;
  try {
    const reply = await peer.request(room.state.subject, text, { timeout: 2_000 });
    return reply.json<{ stream?: string }>().stream !== undefined;
  } catch {
    return false;
  } finally {
    await peer.close();
  }
}

const createStatus = async (server: Server, ana: Identity) =>
  (await call(server.ready.http, ana, "POST", "/rooms", createBody(newRoom(ana, freshSubject(), policy("persist")))))
    .status;

onSmallDisk(
  "a full disk: messages are refused, the cause is named, and room streams recover when space is free",
  async () => {
    const disk = SmallDisk.mount(209_715_200);
    if (disk === null) throw new Error("the disk cannot be mounted any more");
    using folder = disk;
    await using server = await Server.start({ folder });
    const { ana } = await castOf(server, "ana");
    const room = await createRoom(server, ana, policy("persist"));
    expect(await isStored(server, ana, room, "before")).toBe(true);

    folder.fillTo(0);
    expect(await isStored(server, ana, room, "x".repeat(300_000))).toBe(false);
    await untilFault(server, "store-sqlite", /^the server's disk is full \(free some space/);
    await untilFault(server, "nats-embedded", /^nats-server cannot write: no space left on device \(free some space/);
    expect(await createStatus(server, ana)).toBe(503);

    for (const name of new Bun.Glob("noise-*").scanSync(server.data)) rmSync(join(server.data, name));
    await untilReady(server);
    await until("messages are stored again", () => isStored(server, ana, room, "after"));
    const texts = (await history(server, ana, room)).map(String);
    expect([texts[0], texts.at(-1)]).toEqual(["before", "after"]);
    expect(await createStatus(server, ana)).toBe(201);
    const log = await logOf(server);
    expect(count(log, /^not ready: nats-embedded: nats-server cannot write: no space left/)).toBe(1);
    expect(count(log, /^not ready: store-sqlite: the server's disk is full/)).toBe(1);
    expect(count(log, /^works again: store-sqlite/)).toBe(1);
    expect(count(log, /^nats-server ended: it could not write \(no space left on device\)/)).toBe(1);
  },
  120_000,
);

onSmallDisk("a data directory on a disk without exec is refused with the cause and the fix", async () => {
  const disk = SmallDisk.mount(209_715_200);
  if (disk === null) throw new Error("the disk cannot be mounted any more");
  using folder = disk;
  const remounted = Bun.spawnSync(["mount", "-o", "remount,noexec", folder.file("data")]);
  expect(remounted.exitCode).toBe(0);
  const free = ["--http", "127.0.0.1:0", "--nats", "127.0.0.1:0", "--ws", "127.0.0.1:0"];
  const { code, stderr } = await unibus(folder, ["serve", "--data", folder.file("data"), ...free]);
  expect(code).toBe(1);
  expect(stderr).toMatch(/error: nats-server did not start: .*cannot execute .*: EACCES \(mount its disk with exec, /);
});

/** Opens connections that each send half a request, until one is refused or there are `most` of them. */
async function occupy(port: number, most: number): Promise<Socket[]> {
  const sockets: Socket[] = [];
  for (let n = 0; n < most; n++) {
    const socket = connect({ host: "127.0.0.1", port });
    socket.on("error", () => undefined);
    socket.write("GET /healthz HTTP/1.1\r\nHost: x\r\n");
    sockets.push(socket);
  }
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once("connect", resolve))));
  return sockets;
}

onLinux(
  "256 file descriptors: the cause is named before they are all in use, and the server recovers",
  async () => {
    using folder = new Folder();
    // A shell sets the limit, then executes unibus in its place.
    const script = folder.file("limited");
    await Bun.write(script, `#!/bin/sh\nulimit -n 256\nexec "${executable}" "$@"\n`);
    Bun.spawnSync(["chmod", "700", script]);
    await using server = await Server.start({ command: [script] });
    const { ana } = await castOf(server, "ana");
    expect((await readiness(server)).status).toBe(200);
    const limit = /Max open files\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/limits`, "utf8"))?.[1];
    expect(limit).toBe("256");

    const sockets = await occupy(Number(new URL(server.ready.http).port), 225);
    await untilFault(
      server,
      "bus",
      /^nearly all file descriptors are in use: 2\d\d of 256 \(close connections, or raise/,
    );
    for (const socket of sockets) socket.destroy();
    await untilReady(server);
    expect(await createStatus(server, ana)).toBe(201);
    const log = await logOf(server);
    expect(count(log, /^not ready: bus: nearly all file descriptors/)).toBe(1);
    expect(count(log, /^works again: bus/)).toBe(1);
  },
  60_000,
);

test("nats-server killed: it is restarted, with the cause in the log and its new pid in ready.json", async () => {
  await using server = await Server.start();
  const { ana } = await castOf(server, "ana");
  const room = await createRoom(server, ana, policy("persist"));
  const { nats_pid } = server.ready;
  process.kill(nats_pid, "SIGKILL");
  const recorded = () => JSON.parse(readFileSync(join(server.data, "ready.json"), "utf8")) as { nats_pid: number };
  await until("ready.json has the new pid", () => recorded().nats_pid !== nats_pid && isAlive(recorded().nats_pid));
  await untilReady(server);
  await until("messages are stored again", () => isStored(server, ana, room, "after"));
  const log = await logOf(server);
  expect(count(log, /^nats-server ended: killed by SIGKILL: another process sent it, or the kernel/)).toBe(1);
}, 60_000);

test("nats-server stopped by a signal: /readyz reports it, with the command that resumes it", async () => {
  await using server = await Server.start();
  const { ana } = await castOf(server, "ana");
  const room = await createRoom(server, ana, policy("persist"));
  const { nats_pid } = server.ready;
  process.kill(nats_pid, "SIGSTOP");
  try {
    await untilFault(
      server,
      "nats-embedded",
      new RegExp(`^nats-server is stopped by a signal \\(kill -CONT ${nats_pid}\\)$`),
    );
    expect(await createStatus(server, ana)).toBe(503);
  } finally {
    process.kill(nats_pid, "SIGCONT");
  }
  await untilReady(server);
  await until("messages are stored again", () => isStored(server, ana, room, "after"));
  const log = await logOf(server);
  expect(count(log, /^not ready: nats-embedded: nats-server is stopped/)).toBe(1);
  expect(count(log, /^works again: nats-embedded/)).toBe(1);
}, 60_000);

test("removing the data directory stops the server, with the cause", async () => {
  await using server = await Server.start();
  rmSync(server.data, { recursive: true, force: true });
  expect(await server.exited).toBe(1);
  expect((await server.output()).stderr).toMatch(/error: data directory .* was removed or replaced \(restore it/);
}, 60_000);
