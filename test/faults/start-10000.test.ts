/**
 * A node with many persisted rooms restarts, after a graceful stop and after kill -9, and reports its progress. Small
 * in CI; `npm run soak -- start-10000` runs it with 10,000 rooms.
 */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Folder, isAlive, Server, until } from "../support/executable.ts";
import { castOf } from "../support/inside.ts";
import { createRoom, dial, history, type OwnRoom, policy } from "../support/peer.ts";
import { freePort } from "../support/reverse-proxy.ts";
import { isSoak } from "../support/soak.ts";

const isFull = isSoak("start-10000");
const count = isFull ? 10_000 : 200;
const atOnce = 16;
/** How long a start may take, in milliseconds: far more than it needs, only to end a hanging test. */
const readyWithinMs = isFull ? 600_000 : 60_000;

/** Returns the resident memory of a process, in MB. */
function memoryOf(pid: number): number {
  const kb = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "0";
  return Math.round(Number(kb) / 1_000);
}

/** Collects the distinct answers of /readyz while a server starts. */
function watchReadiness(http: string): () => Set<string> {
  const seen = new Set<string>();
  let isOver = false;
  void (async () => {
    while (!isOver) {
      const reply = await fetch(`${http}/readyz`).catch(() => null);
      if (reply?.status === 503) seen.add(await reply.text());
      await Bun.sleep(50);
    }
  })();
  return () => {
    isOver = true;
    return seen;
  };
}

test(`a node with ${count} persisted rooms restarts`, async () => {
  using folder = new Folder();
  const port = await freePort();
  const http = `http://127.0.0.1:${port}`;
  const settings = ["http.rate=1000000", "rooms.per_user=1000000", "rooms.rows_per_owner=1000000000"];
  const args = ["--http", `127.0.0.1:${port}`, ...settings.flatMap((setting) => ["--set", setting])];
  const start = () => Server.start({ folder, args, readyWithinMs });
  const lines: string[] = [];

  let server = await start();
  await using running = { [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
  void running;
  const { ana } = await castOf(server, "ana");
  const rooms: OwnRoom[] = [];
  const began = performance.now();
  const create = async (): Promise<void> => {
    for (let left = count - rooms.length; left > 0; left = count - rooms.length) {
      const from = rooms.length;
      const wave = Array.from({ length: Math.min(atOnce, left) }, () => createRoom(server, ana, policy("persist")));
      rooms.push(...(await Promise.all(wave)));
      if (Math.floor(from / 1_000) < Math.floor(rooms.length / 1_000)) {
        console.log(`${rooms.length} rooms after ${((performance.now() - began) / 1_000).toFixed(0)} s`);
      }
    }
  };
  await create();
  const first = rooms[0] as OwnRoom;
  const peer = await dial(server, ana);
  await peer.request(first.state.subject, "kept", { timeout: 10_000 });
  await peer.close();

  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    const { nats_pid } = server.ready;
    await server.end(signal);
    await until("its nats-server ended", () => !isAlive(nats_pid), readyWithinMs);
    const stopWatching = watchReadiness(http);
    const begun = performance.now();
    server = await start();
    const ms = performance.now() - begun;
    const said = stopWatching();
    const memory = `unibus ${memoryOf(server.pid)} MB, nats-server ${memoryOf(server.ready.nats_pid)} MB`;
    lines.push(`after ${signal}: ready in ${(ms / 1_000).toFixed(1)} s; ${memory}`);
    const texts = [...said];
    lines.push(`/readyz answered 503 in ${texts.length} ways:`, ...new Set([...texts.slice(0, 2), ...texts.slice(-2)]));
    if (isFull) console.log(lines.splice(0).join("\n  "));
    if (isFull) expect(texts.some((text) => /\d+ of 1\d{4} streams restored/.test(text))).toBe(true);
    expect((await history(server, ana, first)).map(String)).toEqual(["kept"]);
    expect((await createRoom(server, ana, policy("persist"))).state.roomId).not.toBe(first.state.roomId);
  }
}, 3_600_000);
