/**
 * The backup of a cluster, as docs/backup.md says: the data directory of one node, copied while the others serve,
 * brings back all three at other addresses, with users, messages and durables. Only `npm run soak -- cluster-backup`
 * runs it: it starts three nodes twice, and what could break it is a change of nats-server.
 */
import { expect, test } from "bun:test";
import { copyFileSync, cpSync } from "node:fs";
import { areReady, Cluster, statusAt } from "../support/cluster.ts";
import { Folder, unibus, until } from "../support/executable.ts";
import { castOf } from "../support/inside.ts";
import { addMembers, at, call, createRoom, dial, history, policy } from "../support/peer.ts";
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

if (isSoak("cluster-backup")) test("the copy of one node brings back a cluster", bringsBackAll, 600_000);
