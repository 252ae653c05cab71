/**
 * Blobs on three nodes: every node serves every blob, the quota is shared, one node may fail.
 * Source: docs/reference/http.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { blobBucket, objectStream } from "../../src/wire/names.ts";
import { Cluster } from "../support/cluster.ts";
import { type Server, until } from "../support/executable.ts";
import { castOf, inside, jetStream } from "../support/inside.ts";
import { send, signedHeaders } from "../support/peer.ts";

const mebibyte = 1_048_576;
const quota = 8 * mebibyte;
const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

let cluster: Cluster;
let ana: Identity;
let bob: Identity;
beforeAll(async () => {
  cluster = await Cluster.start({ settings: { blobs: { bytes_per_user: quota } } });
  ({ ana, bob } = await castOf(cluster.node(0), "ana", "bob"));
}, 60_000);
afterAll(() => cluster[Symbol.asyncDispose]());

async function post({ ready }: Server, user: Identity, body: Uint8Array<ArrayBuffer>): Promise<number> {
  const headers = signedHeaders(user, { url: ready.http, method: "POST", target: "/blobs", body });
  return (await send(`${ready.http}/blobs`, { method: "POST", headers, body })).status;
}

/** A node's answer for a blob: the hash of the body, or the status. */
async function get({ ready }: Server, user: Identity, hash: string): Promise<string | number> {
  const target = `/blobs/${hash}`;
  const headers = signedHeaders(user, { url: ready.http, method: "GET", target });
  const reply = await fetch(`${ready.http}${target}`, { headers });
  return reply.status === 200 ? hashOf(await reply.bytes()) : reply.status;
}

/** A blob that is unique to its seed. */
const blobOf = (seed: number, size: number): Uint8Array<ArrayBuffer> => {
  const bytes = new Uint8Array(size).fill(seed);
  new DataView(bytes.buffer).setUint32(0, seed);
  return bytes;
};

test("a blob is available on every node at once, in three copies", async () => {
  const bytes = blobOf(1, 3 * mebibyte + 7);
  expect(await post(cluster.node(0), ana, bytes)).toBe(201);
  for (const server of cluster.nodes) expect(await get(server, bob, hashOf(bytes))).toBe(hashOf(bytes));
  for (const server of cluster.nodes) expect(await post(server, bob, bytes)).toBe(200);
  const ctl = await inside(cluster.node(1), "CTL");
  type Info = { config: { num_replicas: number } };
  const { config } = await jetStream<Info>(ctl, `STREAM.INFO.${objectStream(blobBucket)}`);
  expect(config.num_replicas).toBe(3);
  await ctl.close();
}, 30_000);

test("one quota holds for uploads to all nodes at once, to the byte", async () => {
  const { carl } = await castOf(cluster.node(1), "carl");
  const all = Array.from({ length: 24 }, (_, i) => post(cluster.node(i % 3), carl, blobOf(100 + i, mebibyte)));
  const statuses = await Promise.all(all);
  const stored = statuses.filter((status) => status === 201).length;
  expect(statuses.filter((status) => status === 429)).toHaveLength(24 - stored);
  expect(stored).toBeGreaterThan(0);
  expect(stored).toBeLessThanOrEqual(8);
}, 30_000);

test("a killed node loses no blob, and uploads continue", async () => {
  const before = blobOf(2, 2 * mebibyte);
  expect(await post(cluster.node(2), ana, before)).toBe(201);
  await cluster.endNode(2, "SIGKILL");
  await until(
    "the earlier blob is readable",
    async () => (await get(cluster.node(0), bob, hashOf(before))) === hashOf(before),
  );
  const after = blobOf(3, mebibyte);
  await until("another blob is stored", async () => [200, 201].includes(await post(cluster.node(1), ana, after)));
  expect(await get(cluster.node(0), bob, hashOf(after))).toBe(hashOf(after));
  const again = await cluster.startNode(2);
  await until("the node serves it, too", async () => (await get(again, bob, hashOf(after))) === hashOf(after));
}, 60_000);
