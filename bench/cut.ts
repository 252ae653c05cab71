/** Benchmark: how long after a kick or a revocation the peer is disconnected from the data plane. */
import type { NatsConnection } from "nats";
import { Server } from "../test/support/executable.ts";
import { addMembers, call, createRoom, dial, kick, policy } from "../test/support/peer.ts";
import { makeUsers, unlimited } from "./support/bus.ts";
import { unlimitedLogins } from "./support/live-peer.ts";
import { each, quantile } from "./support/measure.ts";
import { workload } from "./workload.ts";

const connectionsCount = 1_000;
const cuts = 100;

async function measure() {
  await using server = await Server.start({ args: [...unlimited, ...unlimitedLogins] });
  const users = await makeUsers(server, connectionsCount);
  const [admin, ...others] = users;
  if (admin === undefined) throw new Error("no admin");
  const connections: NatsConnection[] = [];
  let room = await addMembers(server, await createRoom(server, admin, policy()), ...others);
  await each(others.length, 16, async (index) => {
    const user = others[index];
    if (user !== undefined) connections[index] = await dial(server, user);
  });
  const taken = { kick: [] as number[], revoke: [] as number[] };
  for (let index = 0; index < 2 * cuts; index++) {
    const [user, connection] = [others[index], connections[index]];
    if (user === undefined || connection === undefined) throw new Error("no connection");
    const closed = connection.closed().then(() => performance.now());
    if (index < cuts) room = await kick(server, room, user);
    else await call(server.ready.http, admin, "POST", `/users/${user.signPubHex}/revoke`);
    const answeredAt = performance.now();
    taken[index < cuts ? "kick" : "revoke"].push(Math.max(0, (await closed) - answeredAt));
  }
  await Promise.all(connections.map((connection) => connection.close()));
  return {
    "kick p99": { value: quantile(taken.kick, 0.99) },
    "kick most": { value: Math.max(...taken.kick) },
    "revoke p99": { value: quantile(taken.revoke, 0.99) },
    "revoke most": { value: Math.max(...taken.revoke) },
  };
}

/** Measures how fast access is taken away from a live connection. */
export const cut = workload({
  name: "cut",
  goal: {
    "kick p99": { unit: "ms", atMost: 200 },
    "kick most": { unit: "ms", atMost: 1_000 },
    "revoke p99": { unit: "ms", atMost: 200 },
    "revoke most": { unit: "ms", atMost: 1_000 },
  },
  recipe: `from the HTTP reply to the closed connection, ${connectionsCount} peers connected, ${cuts} of each`,
  run: measure,
});
