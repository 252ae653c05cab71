/** Benchmark: a large file up and down through the client, compared with a bare HTTP transfer of the same bytes. */
import { randomBytes } from "node:crypto";
import { appendFileSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { type Identity, identityText } from "../src/client/crypto/identity.ts";
import { Folder, Server } from "../test/support/executable.ts";
import { addMembers, createRoom, policy } from "../test/support/peer.ts";
import { startBare } from "./blobs.ts";
import { makeUsers, unlimited } from "./support/bus.ts";
import type { FilePeerInput, FilePeerOutput } from "./support/file-peer.ts";
import { timed } from "./support/measure.ts";
import { workload } from "./workload.ts";

const mebibyte = 1_048_576;
/** UNIBUS_BENCH_FILE_MIB makes it smaller, to see that it runs. */
const megabytes = Number(process.env.UNIBUS_BENCH_FILE_MIB ?? 1_024);
const quotaBytes = 4 * (megabytes + 64) * mebibyte;

const perSecond = (ms: number): number => megabytes / (ms / 1_000);

async function peer(input: FilePeerInput): Promise<FilePeerOutput> {
  const child = Bun.spawn([process.execPath, `${import.meta.dir}/support/file-peer.ts`], {
    ...{ stdin: new Blob([JSON.stringify(input)]), stdout: "pipe", stderr: "inherit" },
  });
  const text = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error("the client failed");
  return JSON.parse(text) as FilePeerOutput;
}

/** Fails unless a reply is OK. A failed transfer would be a very fast one. */
async function okOf(work: Promise<Response>): Promise<Response> {
  const reply = await work;
  if (!reply.ok) throw new Error(`the bare server answered ${reply.status}`);
  return reply;
}

/** Fetches a URL to a file, and syncs it, as `save` does. */
async function bareDown(url: string, path: string): Promise<void> {
  await Bun.write(path, await okOf(fetch(url)));
  const handle = await open(path, "r+");
  await handle.sync();
  await handle.close();
}

async function measure() {
  using folder = new Folder();
  const source = folder.file("source");
  const block = randomBytes(mebibyte);
  for (let written = 0; written < megabytes; written++) appendFileSync(source, block);
  await using server = await Server.start({ args: [...unlimited, "--set", `blobs.bytes_per_user=${quotaBytes}`] });
  using bare = await startBare();
  const [ana, bob] = (await makeUsers(server, 2)) as [Identity, Identity];
  const room = await addMembers(server, await createRoom(server, ana, policy("encrypt", "persist", "sign_msgs")), bob);
  const at = { url: server.ready.http, room: room.state.roomId };
  const bareUpMs = await timed(() => okOf(fetch(bare.url, { method: "POST", body: Bun.file(source) })));
  const up = await peer({ ...at, identity: identityText(ana), path: source, sends: true });
  const bareDownMs = await timed(() => bareDown(bare.url, folder.file("bare")));
  rmSync(folder.file("bare"));
  const down = await peer({ ...at, identity: identityText(bob), path: folder.file("copy"), sends: false });
  const compared = Bun.spawnSync(["cmp", source, folder.file("copy")]);
  if (!compared.success) throw new Error("the copy differs from the file");
  return {
    up: { value: perSecond(up.ms), limit: perSecond(bareUpMs) },
    down: { value: perSecond(down.ms), limit: perSecond(bareDownMs) },
    "memory up": { value: up.grownBytes / mebibyte },
    "memory down": { value: down.grownBytes / mebibyte },
  };
}

/** Measures what a file in parts costs compared with a plain HTTP transfer. */
export const files = workload({
  name: "files",
  goal: {
    up: { unit: "MB/s", ofLimit: 0.6 },
    down: { unit: "MB/s", ofLimit: 0.6 },
    "memory up": { unit: "MB", atMost: 24 },
    "memory down": { unit: "MB", atMost: 24 },
  },
  recipe:
    `a file of ${megabytes} MiB, sent by one client process and saved by another one; limit: a bare Bun.serve that writes ` +
    "the body to a file and syncs it, and a download of it to a file that is synced; memory: growth of the peak of each " +
    "client after a transfer of 8 MiB",
  run: measure,
});
