/**
 * The two ways to back up a cluster that docs/backup.md describes. The data directory of one node, copied while the
 * others serve, brings back all three at other addresses. And rows by `unibus backup`, with streams by the page's
 * program, both made while the cluster runs, bring back another one. Only `npm run soak -- cluster-backup` runs this:
 * it starts three nodes four times, and what could break it is a change of nats-server.
 */
import { expect, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { copyFileSync, cpSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { areReady, Cluster, statusAt } from "../support/cluster.ts";
import { Folder, type Server, unibus, until } from "../support/executable.ts";
import { castOf } from "../support/inside.ts";
import { nodePath } from "../support/node-run.ts";
import { programsOf } from "../support/pages.ts";
import { addMembers, at, call, createRoom, dial, history, policy, send, signedHeaders } from "../support/peer.ts";
import { isSoak } from "../support/soak.ts";

const count = 50;
const all = [0, 1, 2];
const texts = Array.from({ length: count }, (_, n) => `${n}`);

async function bringsBackAll(): Promise<void> {
  using kept = new Folder();
  await using old = await Cluster.start();
  await until("all nodes are ready", () => areReady(old));
  const { ana, bob } = await castOf(old.node(0), "ana", "bob");
  const room = await addMembers(old.node(0), await createRoom(old.node(0), ana, policy("persist")), bob);
  const writer = await dial(old.node(1), ana);
  for (const text of texts) await writer.request(room.state.subject, text);
  const bind = async (url: string) => (await call(url, bob, "PUT", at(room, "/durable?device=laptop"))).json;
  const bound = await bind(old.node(1).ready.http);

  await old.endNode(0);
  cpSync(old.folder(0).file("data"), kept.file("data"), { recursive: true });
  copyFileSync(old.secretFile, kept.file("secret"));
  expect((await call(old.node(1).ready.http, ana, "GET", "/directory")).status).toBe(200);
  await writer.close();

  await using cluster = await Cluster.start({ started: 0 });
  copyFileSync(kept.file("secret"), cluster.secretFile);
  for (const node of all) cpSync(kept.file("data"), cluster.folder(node).file("data"), { recursive: true });
  await Promise.all(all.map((node) => cluster.startNode(node)));
  await until("all nodes are ready", () => areReady(cluster), 60_000);
  expect(await statusAt(cluster, bob)).toEqual([200, 200, 200]);
  for (const server of cluster.nodes) expect((await history(server, bob, room)).map(String)).toEqual(texts);
  expect(await bind(cluster.node(2).ready.http)).toEqual(bound);
  const again = await dial(cluster.node(2), ana);
  expect((await again.request(room.state.subject, "after")).json<{ seq: number }>().seq).toBe(count + 1);
  await again.close();
  const { folder, data } = cluster.node(0);
  const { code, stdout } = await unibus(folder, ["doctor", "--data", data, "--json"]);
  expect([code, JSON.parse(stdout)]).toEqual([0, { findings: [], fixed: false }]);
}

async function bringsBackRowsAndStreams(): Promise<void> {
  using folder = new Folder();
  writeFileSync(folder.file("streams.mjs"), programsOf("backup.md").get("streams.mjs") ?? "");
  symlinkSync(join(import.meta.dir, "..", "..", "node_modules"), folder.file("node_modules"));
  const streams = async (what: "save" | "restore", { ready, data }: Server) => {
    const command = [nodePath(), "streams.mjs", what, ready.nats, join(data, "internal.json"), "saved"];
    const child = Bun.spawn(command, { cwd: folder.path, stdout: "pipe", stderr: "pipe" });
    const said = await new Response(child.stderr).text();
    expect([await child.exited, said]).toEqual([0, ""]);
    return (await new Response(child.stdout).text()).trim().split("\n");
  };
  await using old = await Cluster.start();
  await until("all nodes are ready", () => areReady(old));
  const { ana, bob } = await castOf(old.node(0), "ana", "bob");
  const room = await addMembers(old.node(0), await createRoom(old.node(0), ana, policy("persist")), bob);
  const writer = await dial(old.node(1), ana);
  for (const text of texts) await writer.request(room.state.subject, text);
  await writer.close();
  const bytes = randomBytes(3_000_000);
  const hash = createHash("sha256").update(bytes).digest("hex");
  const url = old.node(1).ready.http;
  const headers = signedHeaders(ana, { url, method: "POST", target: "/blobs", body: bytes });
  expect((await send(`${url}/blobs`, { method: "POST", headers, body: bytes })).json).toEqual({ hash });
  const backup = ["backup", "--data", old.node(0).data, "--out", folder.file("rows.jsonl")];
  expect(await unibus(folder, backup)).toMatchObject({ code: 0 });
  expect(await streams("save", old.node(2))).toHaveLength(2);

  await using cluster = await Cluster.start();
  await until("all nodes are ready", () => areReady(cluster));
  writeFileSync(folder.file("denials"), "");
  const restore = ["restore", "--data", cluster.node(0).data, "rows.jsonl", "--denials", "denials", "--yes"];
  expect(await unibus(folder, restore)).toMatchObject({ code: 0 });
  expect(await streams("restore", cluster.node(1))).toHaveLength(2);
  for (const server of cluster.nodes) {
    expect((await history(server, bob, room)).map(String)).toEqual(texts);
    const signed = { url: server.ready.http, method: "GET", target: `/blobs/${hash}` };
    const reply = await fetch(`${signed.url}${signed.target}`, { headers: signedHeaders(bob, signed) });
    expect(Buffer.from(await reply.arrayBuffer()).equals(bytes)).toBe(true);
  }
  const again = await dial(cluster.node(2), ana);
  expect((await again.request(room.state.subject, "after")).json<{ seq: number }>().seq).toBe(count + 1);
  await again.close();
}

if (isSoak("cluster-backup")) {
  test("the copy of one node brings back a cluster", bringsBackAll, 600_000);
  test("rows and streams that were saved while it runs bring back a cluster", bringsBackRowsAndStreams, 600_000);
}
