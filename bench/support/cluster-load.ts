/** A cluster of three nodes under load, and its test fixtures. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import type { InviteRecord } from "../../src/contracts/store.ts";
import { openKvStore } from "../../src/plugins/store-kv/store.ts";
import { sha256Hex } from "../../src/wire/encoding.ts";
import { bucketStream, buckets } from "../../src/wire/names.ts";
import { Cluster } from "../../test/support/cluster.ts";
import type { Server } from "../../test/support/executable.ts";
import { inside, jetStream } from "../../test/support/inside.ts";
import { each, timed } from "./measure.ts";

/** A host name that all nodes of a benchmark share. */
export const sharedHost = "bus.example.org:8470";

/** Starts a cluster without limits that would throttle a benchmark. With `ownAddress`, `ownHost` is available. */
export function startCluster({ ownAddress = false } = {}): Promise<Cluster> {
  const everywhere = { args: ["--http", "0.0.0.0:0"] };
  const http = { rate: 10_000_000, hosts: [sharedHost], ...(ownAddress && { allow_cleartext: true }) };
  return Cluster.start({ settings: { http }, ...(ownAddress && everywhere) });
}

/**
 * A host name that only this node accepts in signatures: an address of the machine. Loopback names are unsuitable
 * because all nodes share them. Undefined if the machine has no other address.
 */
export function ownHost({ ready }: Server): string | undefined {
  const all = Object.values(networkInterfaces()).flatMap((some) => some ?? []);
  const own = all.find(({ internal, family }) => !internal && family === "IPv4");
  return own && `${own.address}:${new URL(ready.http).port}`;
}

/** Runs one of the load generators in this folder as a process. */
export async function runLoad<R>(script: string, job: unknown): Promise<R> {
  const command = [process.execPath, join(import.meta.dir, script)];
  const child = Bun.spawn(command, { stdin: new Blob([JSON.stringify(job)]), stdout: "pipe" });
  const said = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error("the load could not be sent");
  return JSON.parse(said) as R;
}

function inviteOf(token: string, at: number): InviteRecord {
  const tokenHash = sha256Hex(token);
  return {
    ...{ id: tokenHash.slice(0, 32), tokenHash, handle: "guest", role: "member", createdAt: at },
    ...{ expiresAt: at + 3_600_000, usedAt: null, usedSignPub: null, usedKexPub: null, completedAt: null },
  };
}

/** Writes invites directly into the buckets: more than the rules allow to be pending. */
export async function makeTokens(server: Server, count: number): Promise<string[]> {
  const connection = await inside(server, "CTL");
  const options = { replicas: 3, onWait: () => undefined, signal: new AbortController().signal, now: Date.now };
  const { invites } = await openKvStore(connection, options);
  const tokens = Array.from({ length: count }, () => randomBytes(32).toString("hex"));
  await each(count, 32, (index) => invites.insertInvite(inviteOf(tokens[index] ?? "", Date.now())));
  await connection.close();
  return tokens;
}

/** Publishes bare messages to a stream with three replicas, `inFlight` at a time. Returns writes per second. */
export async function bareWrites(server: Server, count: number, inFlight: number): Promise<number> {
  const connection = await inside(server, "CTL");
  const stream = { name: "BENCH", subjects: ["bench.>"], storage: "file", num_replicas: 3 };
  await jetStream(connection, "STREAM.CREATE.BENCH", stream);
  const value = "x".repeat(300);
  const tookMs = await timed(() =>
    each(count, inFlight, (index) => connection.request(`bench.${index}`, value, { timeout: 10_000 })),
  );
  await jetStream(connection, "STREAM.DELETE.BENCH");
  await connection.close();
  return count / (tookMs / 1_000);
}

/** Index of the node that leads the users bucket. */
export async function leaderOf(cluster: Cluster): Promise<number> {
  const connection = await inside(cluster.node(0), "CTL");
  type Info = { cluster: { leader: string } };
  const { cluster: at } = await jetStream<Info>(connection, `STREAM.INFO.${bucketStream(buckets.users)}`);
  await connection.close();
  return Number(at.leader.replace("node-", ""));
}

/** CPU ticks that a process has used; the kernel counts 100 per second. */
function ticksOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

const ticksPerSecond = 100;

/** CPU use of some idle processes together, in percent of one core. */
export async function idlePercent(pids: readonly number[], ms: number): Promise<number> {
  const ticks = () => pids.reduce((sum, pid) => sum + ticksOf(pid), 0);
  const [before, began] = [ticks(), performance.now()];
  await Bun.sleep(ms);
  return ((ticks() - before) / ticksPerSecond / ((performance.now() - began) / 1_000)) * 100;
}

/** Resident memory of some processes together, in megabytes. */
export function residentMb(pids: readonly number[]): number {
  const of = (pid: number) => Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
  return (pids.reduce((sum, pid) => sum + of(pid), 0) * 1024) / 1e6;
}
