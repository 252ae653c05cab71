/** Three nodes under load, and how the fixtures of one node fit them. */
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

/** A name that all nodes of a bench share. */
export const sharedHost = "bus.example.org:8470";

/** Starts a cluster on which no limit stands between a bench and the work. `ownAddress`: there is an `ownHost`. */
export function startCluster({ ownAddress = false } = {}): Promise<Cluster> {
  const everywhere = { args: ["--http", "0.0.0.0:0"] };
  const http = { rate: 10_000_000, hosts: [sharedHost], ...(ownAddress && { allow_cleartext: true }) };
  return Cluster.start({ settings: { http }, ...(ownAddress && everywhere) });
}

/**
 * What a request is signed for that only this node takes: an address of the machine. Names of loopback do not do, since
 * all nodes share them. Undefined where the machine has no other.
 */
export function ownHost({ ready }: Server): string | undefined {
  const all = Object.values(networkInterfaces()).flatMap((some) => some ?? []);
  const own = all.find(({ internal, family }) => !internal && family === "IPv4");
  return own && `${own.address}:${new URL(ready.http).port}`;
}

/** Runs one of the load processes beside this file. */
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

/** Writes invites into the buckets: more than may be pending by the rules. */
export async function makeTokens(server: Server, count: number): Promise<string[]> {
  const connection = await inside(server, "CTL");
  const options = { replicas: 3, onWait: () => undefined, signal: new AbortController().signal, now: Date.now };
  const { invites } = await openKvStore(connection, options);
  const tokens = Array.from({ length: count }, () => randomBytes(32).toString("hex"));
  await each(count, 32, (index) => invites.insertInvite(inviteOf(tokens[index] ?? "", Date.now())));
  await connection.close();
  return tokens;
}

/** Bare writes of one message each into a stream with three copies, so many in flight. Gives how many a second. */
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

/** The index of the node that leads the bucket of the users. */
export async function leaderOf(cluster: Cluster): Promise<number> {
  const connection = await inside(cluster.node(0), "CTL");
  type Info = { cluster: { leader: string } };
  const { cluster: at } = await jetStream<Info>(connection, `STREAM.INFO.${bucketStream(buckets.users)}`);
  await connection.close();
  return Number(at.leader.replace("node-", ""));
}

/** Ticks of the processor that a process had; the kernel counts 100 in a second. */
function ticksOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

const ticksPerSecond = 100;

/** Percent of one core that processes took together while nobody asked for anything. */
export async function idlePercent(pids: readonly number[], ms: number): Promise<number> {
  const ticks = () => pids.reduce((sum, pid) => sum + ticksOf(pid), 0);
  const [before, began] = [ticks(), performance.now()];
  await Bun.sleep(ms);
  return ((ticks() - before) / ticksPerSecond / ((performance.now() - began) / 1_000)) * 100;
}

/** Megabytes that processes hold together. */
export function residentMb(pids: readonly number[]): number {
  const of = (pid: number) => Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
  return (pids.reduce((sum, pid) => sum + of(pid), 0) * 1024) / 1e6;
}
