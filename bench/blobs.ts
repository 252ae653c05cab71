/** Benchmark: blob upload and download speed, and memory during eight at once, compared with a bare file server. */
import { randomBytes } from "node:crypto";
import type { Identity } from "../src/client/crypto/identity.ts";
import type { Server } from "../test/support/executable.ts";
import { growth } from "../test/support/flood.ts";
import { send, signedHeaders } from "../test/support/peer.ts";
import { makeUsers, startBus } from "./support/bus.ts";
import { median, timed } from "./support/measure.ts";
import { workload } from "./workload.ts";

const bytes = 16 * 1_048_576;
const atOnce = 8;
const rounds = 9;

const fresh = () => new Uint8Array(randomBytes(bytes));
const perSecond = (ms: number, count = 1) => (count * bytes) / 1_048_576 / (ms / 1_000);

/** Starts the bare server; returns its URL and a disposer. */
export async function startBare(): Promise<{ url: string } & Disposable> {
  const script = `${import.meta.dir}/support/bare-upload.ts`;
  const child = Bun.spawn([process.execPath, script], { stdin: "ignore", stdout: "pipe" });
  const { value } = await child.stdout.getReader().read();
  const url = `http://127.0.0.1:${Number(new TextDecoder().decode(value))}`;
  return { url, [Symbol.dispose]: () => child.kill() };
}

async function expectOk(work: Promise<Response>): Promise<Response> {
  const reply = await work;
  if (!reply.ok) throw new Error(`a reply that is ${reply.status}`);
  return reply;
}

async function up(server: Server, who: Identity, body: Uint8Array<ArrayBuffer>): Promise<string> {
  const url = server.ready.http;
  const headers = signedHeaders(who, { url, method: "POST", target: "/blobs", body });
  const reply = await send(`${url}/blobs`, { method: "POST", headers, body });
  if (reply.status !== 201) throw new Error(`POST /blobs: ${reply.status} ${reply.text}`);
  return `/blobs/${reply.json.hash}`;
}

async function down(server: Server, who: Identity, target: string): Promise<void> {
  const url = server.ready.http;
  const headers = signedHeaders(who, { url, method: "GET", target });
  await (await expectOk(fetch(`${url}${target}`, { headers }))).arrayBuffer();
}

async function measure() {
  await using server = await startBus();
  using bare = await startBare();
  const [user] = await makeUsers(server, 1);
  if (user === undefined) throw new Error("no user was made");
  const put = (body: Uint8Array<ArrayBuffer>) => expectOk(fetch(bare.url, { method: "POST", body }));
  const get = async () => void (await (await expectOk(fetch(bare.url))).arrayBuffer());
  let target = await up(server, user, fresh());
  await put(fresh());
  const samples = { up: [] as number[], bareUp: [] as number[], down: [] as number[], bareDown: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    const [ours, theirs] = [fresh(), fresh()];
    // Sign up front: the client's hashing time must not count as the server's.
    const url = server.ready.http;
    const headers = signedHeaders(user, { url, method: "POST", target: "/blobs", body: ours });
    const post = () => expectOk(fetch(`${url}/blobs`, { method: "POST", headers, body: ours }));
    samples.up.push(perSecond(await timed(post)));
    samples.bareUp.push(perSecond(await timed(() => put(theirs))));
    samples.down.push(perSecond(await timed(() => down(server, user, target))));
    samples.bareDown.push(perSecond(await timed(get)));
  }
  const eight = Array.from({ length: atOnce }, fresh);
  const grown = await growth(server, async () => {
    const targets = await Promise.all(eight.map((body) => up(server, user, body)));
    await Promise.all(targets.map((one) => down(server, user, one)));
    target = targets[0] ?? target;
  });
  return {
    up: { value: median(samples.up), limit: median(samples.bareUp) },
    down: { value: median(samples.down), limit: median(samples.bareDown) },
    memory: { value: grown / 1_048_576 },
  };
}

/** Measures what a blob costs compared with a file. */
export const blobs = workload({
  name: "blobs",
  goal: {
    up: { unit: "MB/s", ofLimit: 0.6 },
    down: { unit: "MB/s", ofLimit: 0.6 },
    memory: { unit: "MB", atMost: 24 },
  },
  recipe:
    `one blob of ${bytes / 1_048_576} MiB, median of ${rounds}; limit: a bare Bun.serve that writes the body to a file and ` +
    `syncs it, or sends one; memory: growth of the peak while ${atOnce} go up at once and then come down at once`,
  run: measure,
});
