/**
 * A nats-server with many streams starts: its deadline is renewed as long as it makes progress, and one without
 * progress is ended with a cause. The full test, 10,000 persisted rooms in the executable: `npm run soak --
 * start-10000`.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { connect } from "nats";
import type { Log } from "../../src/contracts/plugin.ts";
import { NatsProcess, type Ports, type ProcessOptions, portsFolder } from "../../src/plugins/nats-embedded/process.ts";
import { isUnibusError } from "../../src/wire/errors.ts";
import { Folder, isAlive, until } from "../support/executable.ts";

const binary = resolve(import.meta.dir, "../../.cache/nats-server/nats-server");
const streams = 400;
const startTimeoutMs = 1_000;
/** A start of nats-server that is paused again and again takes at least this many deadlines. */
const deadlinesMin = 2;
const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };
const folder = new Folder();
const storeDir = folder.file("store");

afterAll(() => folder[Symbol.dispose]());

function natsProcess(options: Partial<ProcessOptions> = {}) {
  const config = (ports: Ports | null) =>
    JSON.stringify({
      listen: `127.0.0.1:${ports?.nats ?? -1}`,
      ports_file_dir: portsFolder(folder.path),
      jetstream: { store_dir: storeDir },
      logtime: false,
    });
  return new NatsProcess({ binary, folder: folder.path, storeDir, config, log: silent, ...options });
}

/** Lets a process run only a few milliseconds out of every 200 until `isOver`, as on a very busy machine. */
async function slowDown(pid: () => number | null, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    const at = pid();
    if (at === null) {
      await Bun.sleep(1);
      continue;
    }
    process.kill(at, "SIGSTOP");
    await Bun.sleep(200);
    if (isAlive(at)) process.kill(at, "SIGCONT");
    await Bun.sleep(4);
  }
}

beforeAll(async () => {
  const server = natsProcess();
  const { nats } = await server.start();
  const connection = await connect({ port: nats });
  for (let from = 0; from < streams; from += 50) {
    const made = Array.from({ length: 50 }, (_, n) => {
      const config = { name: `S${from + n}`, subjects: [`s.${from + n}`], storage: "file", retention: "limits" };
      return connection.request(`$JS.API.STREAM.CREATE.${config.name}`, JSON.stringify(config), { timeout: 20_000 });
    });
    for (const reply of await Promise.all(made)) expect(reply.json<{ error?: unknown }>().error).toBeUndefined();
  }
  await connection.close();
  await server.stop();
}, 60_000);

test("a slow start that makes progress may exceed its deadline, and reports its progress", async () => {
  const reports: string[] = [];
  const server = natsProcess({ startTimeoutMs, onProgress: (detail) => reports.push(detail) });
  let isOver = false;
  const slowing = slowDown(
    () => server.pid,
    () => isOver,
  );
  const began = performance.now();
  try {
    await server.start();
    expect(performance.now() - began).toBeGreaterThan(deadlinesMin * startTimeoutMs);
  } finally {
    isOver = true;
    await slowing;
    await server.stop();
  }
  expect(reports.length).toBeGreaterThan(1);
  expect(reports.at(-1)).toMatch(new RegExp(`^nats-server is starting: \\d+ of ${streams} streams restored$`));
}, 60_000);

test("a start that makes no progress is aborted with a cause", async () => {
  const server = natsProcess({ startTimeoutMs });
  const starting = server.start().catch((error: unknown) => error);
  await until("the process is running", () => server.pid !== null);
  const pid = server.pid ?? 0;
  process.kill(pid, "SIGSTOP");
  const error = await starting;
  expect(isUnibusError(error) && error.message).toMatch(
    /^nats-server did not start: it made no progress for 1 s, \d+ of 400 streams restored \(check its log/,
  );
  await until("the process has ended", () => !isAlive(pid));
  await server.stop();
}, 60_000);

test("log lines about streams that are read after the server listens do not count as a start in progress", async () => {
  // The real nats-server, whose log arrives late, as when unibus has no time to read it.
  const late = folder.file("late-log");
  const read = folder.file("read-it");
  const log = `(until [ -e ${read} ]; do /bin/sleep 0.05; done; exec /usr/bin/tail -n +1 -f --pid=$$ ${late}.log >&2) &`;
  writeFileSync(late, `#!/bin/bash\n${log}\nexec ${binary} "$@" 2> ${late}.log\n`, { mode: 0o700 });
  const lines: string[] = [];
  const reports: string[] = [];
  const server = natsProcess({
    binary: late,
    onLine: (line) => lines.push(line),
    onProgress: (detail) => reports.push(detail),
  });
  try {
    await server.start();
    expect(lines.filter((line) => line.includes("Restored"))).toEqual([]);
    // Two reports have at least 250 ms between them, so a line read before that would be no proof.
    await Bun.sleep(300);
    const reported = reports.length;
    writeFileSync(read, "");
    await until("its log is read", () => lines.some((line) => line.includes("Server is ready")));
    expect(lines.filter((line) => line.includes("Restored"))).toHaveLength(streams);
    expect([server.fault, reports.slice(reported)]).toEqual([null, []]);
  } finally {
    await server.stop();
  }
}, 60_000);
