/**
 * Three nodes whose disk for rooms is full: rooms store nothing more, and everything else goes on.
 * Source: docs/protocol/logins.md, docs/threat-model.md.
 */
import { expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import type { NatsConnection } from "nats";
import { until } from "../support/executable.ts";
import { castOf } from "../support/inside.ts";
import { addMembers, at, call, createRoom, dial, kick, type OwnRoom, policy, postUser } from "../support/peer.ts";
import { framesAt } from "./chaos/frames.ts";
import { Nodes } from "./chaos/nodes.ts";
import { published, Scene } from "./chaos/scene.ts";

const frameBytes = 32_768;
const busBytesMax = 2 * 1_048_576;
/** More frames than the disk for rooms holds. */
const framesMax = (4 * busBytesMax) / frameBytes;

/** Publishes a frame. Returns its text when it is acknowledged, null when it is refused or unanswered. */
async function publish(connection: NatsConnection, room: OwnRoom): Promise<string | null> {
  const text = randomBytes(frameBytes / 2).toString("hex");
  return (await published(connection, room.state.subject, text, 2_000)) === null ? null : text;
}

test("on a full disk publishes are refused, removals take effect everywhere, and acknowledged data stays", async () => {
  await using nodes = await Nodes.start({ args: ["--set", `nats-embedded.bus_bytes_max=${busBytesMax}`] });
  const { admin, ana, bob, eve } = await castOf(nodes.at(0), "ana", "bob", "eve");
  const room = await addMembers(nodes.at(0), await createRoom(nodes.at(0), ana, policy("persist")), bob, eve);
  const writer = await dial(nodes.at(1), bob);
  const acked: string[] = [];
  let refused = 0;
  for (let sent = 0; refused < 3 && sent < framesMax; sent++) {
    const text = await publish(writer, room);
    if (text === null) refused += 1;
    else acked.push(text);
  }
  expect(refused).toBe(3);
  expect(acked.length * frameBytes).toBeGreaterThan(busBytesMax / 4);

  const kicked = await kick(nodes.at(2), room, bob, ana, eve);
  expect((await call(nodes.url(1), admin, "POST", `/users/${eve.signPubHex}/revoke`)).status).toBe(204);
  for (const url of nodes.urls) {
    expect((await call(url, bob, "GET", at(room))).status).toBe(403);
    expect((await call(url, eve, "GET", "/directory")).status).toBe(401);
  }
  await until("bob is disconnected", () => writer.isClosed(), 5_000);
  await postUser(nodes.at(0), admin, "late");

  // A node that restarts with a full disk still has all frames.
  await nodes.kill(1);
  await nodes.boot(1);
  await nodes.untilReady();
  const scene = new Scene(nodes, admin);
  for (const node of [0, 1, 2]) {
    let read: Set<string> | null = null;
    await until(`node ${node} returns it`, async () => {
      read = await framesAt(scene, node, room)
        .then((texts) => new Set(texts))
        .catch(() => null);
      return read !== null;
    });
    const found = new Set<string>(read ?? []);
    expect(acked.filter((text) => !found.has(text))).toEqual([]);
  }

  // Deleting a room frees space without an operator.
  expect((await call(nodes.url(0), ana, "DELETE", at(kicked))).status).toBe(204);
  const next = await createRoom(nodes.at(2), ana, policy("persist"));
  const owner = await dial(nodes.at(2), ana);
  await until("there is space again", async () => (await publish(owner, next)) !== null);
  await owner.close();
}, 120_000);
