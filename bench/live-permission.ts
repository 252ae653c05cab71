/** Benchmark: how soon an added member can use a room on an open connection, and message loss during such changes. */
import type { NatsConnection } from "nats";
import type { Identity } from "../src/client/crypto/identity.ts";
import type { ConnectionManager } from "../src/client/transport/connection-manager.ts";
import { Server, until } from "../test/support/executable.ts";
import { addMembers, createRoom, dial, kick, type OwnRoom, policy } from "../test/support/peer.ts";
import { makeUsers, unlimited } from "./support/bus.ts";
import { livePeer, unlimitedLogins } from "./support/live-peer.ts";
import { each, quantile } from "./support/measure.ts";
import { workload } from "./workload.ts";

const usersCount = 1_000;
const additions = 100;
const messages = 100_000;
/** `own` changes the reader's rooms, as many as its client reads at once; `others` changes rooms of other users. */
const changes = { own: 18, others: 182 } as const;
/** The sender pauses while the reader is this many messages behind; otherwise the result would measure a queue. */
const aheadMost = 5_000;

/** Measures the time from the HTTP reply of an addition to the member's first message; the sender never pauses. */
async function firstMessage(server: Server, owner: Identity, users: readonly Identity[]): Promise<number[]> {
  const taken: number[] = [];
  for (const user of users.slice(0, additions)) {
    const room = await createRoom(server, owner, policy());
    const sender = await dial(server, owner);
    const first = Promise.withResolvers<number>();
    const live = await livePeer(server, user, () => first.resolve(performance.now()));
    let isThere = false;
    const publishing = (async () => {
      while (!isThere) {
        sender.publish(room.state.subject, crypto.randomUUID());
        await sender.flush();
        await Bun.sleep(1);
      }
    })();
    await addMembers(server, room, user);
    const answeredAt = performance.now();
    taken.push((await first.promise) - answeredAt);
    isThere = true;
    await publishing;
    await Promise.all([live.close(), sender.close()]);
  }
  return taken;
}

/** Changes memberships of the reader, then memberships of other users. */
async function change(
  server: Server,
  owner: Identity,
  reader: Identity,
  other: Identity,
  live: ConnectionManager,
): Promise<void> {
  for (let index = 0; index < changes.own; index++) {
    const side: OwnRoom = await createRoom(server, owner, policy());
    await addMembers(server, side, reader);
    await until("the change is taken up", () => live.followed.includes(side.state.subject));
  }
  for (let index = 0; index < changes.others; index += 2) {
    const side = await createRoom(server, owner, policy());
    await kick(server, await addMembers(server, side, other), other, owner);
  }
}

async function run(server: Server, owner: Identity, reader: Identity, other: Identity) {
  const room = await addMembers(server, await createRoom(server, owner, policy()), reader);
  const counts = new Uint8Array(4 * messages);
  let got = 0;
  const live = await livePeer(server, reader, ({ subject, data }) => {
    if (subject !== room.state.subject) return;
    const index = Number(Buffer.from(data).toString());
    counts[index] = (counts[index] ?? 0) + 1;
    got += 1;
  });
  const sender: NatsConnection = await dial(server, owner);
  let isChanging = true;
  const changing = change(server, owner, reader, other, live).finally(() => {
    isChanging = false;
  });
  let sent = 0;
  while (sent < messages || (isChanging && sent < 4 * messages)) {
    const perTurn = Math.max(1, Math.floor(messages / 2_000));
    for (let index = 0; index < perTurn && sent < 4 * messages; index++)
      sender.publish(room.state.subject, `${sent++}`);
    await sender.flush();
    if (sent - got > aheadMost || sent >= messages) await Bun.sleep(1);
  }
  await changing;
  await until("the last have come", () => counts[sent - 1] !== 0, 10_000).catch(() => undefined);
  await Promise.all([live.close(), sender.close()]);
  const seen = counts.subarray(0, sent);
  return {
    sent: { value: sent },
    lost: { value: seen.reduce((sum, count) => sum + (count === 0 ? 1 : 0), 0) },
    doubled: { value: seen.reduce((sum, count) => sum + (count > 1 ? 1 : 0), 0) },
  };
}

async function measure() {
  await using server = await Server.start({
    args: [...unlimited, ...unlimitedLogins, "--set", "rooms.per_user=100000"],
  });
  const users = await makeUsers(server, usersCount);
  const [owner, reader, other, ...rest] = users;
  if (owner === undefined || reader === undefined || other === undefined) throw new Error("no users");
  const idle: NatsConnection[] = [];
  await each(rest.length, 16, async (index) => {
    const user = rest[index];
    if (user !== undefined && index >= additions) idle.push(await dial(server, user));
  });
  const taken = await firstMessage(server, owner, rest);
  const figures = await run(server, owner, reader, other);
  await Promise.all(idle.map((connection) => connection.close()));
  return { p50: { value: quantile(taken, 0.5) }, p99: { value: quantile(taken, 0.99) }, ...figures };
}

/** Measures permission changes on a live connection. */
export const livePermission = workload({
  name: "live-permission",
  goal: {
    p50: { unit: "ms" },
    p99: { unit: "ms", atMost: 50 },
    sent: { unit: "", atLeast: messages },
    lost: { unit: "", atMost: 0 },
    doubled: { unit: "", atMost: 0 },
  },
  recipe:
    `p50, p99: from the HTTP reply of an addition to the first message, ${usersCount} users connected, ${additions} ` +
    `additions; then ${messages} messages or more to a peer during ${changes.own} changes of its own and ${changes.others} of others'`,
  run: measure,
});
