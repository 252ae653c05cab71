/** Benchmark: a member's acknowledged publish into a persisted room, compared with a bare nats-server. */
import { randomBytes } from "node:crypto";
import type { NatsConnection } from "nats";
import { createRoom, dial, policy } from "../test/support/peer.ts";
import { BareNats, bareStream, createStream } from "./support/bare-nats.ts";
import { makeUsers, startBus } from "./support/bus.ts";
import { each, median, timed } from "./support/measure.ts";
import { workload } from "./workload.ts";

const frame = randomBytes(512);
const rounds = 7;
const publishes = 4_000;
const inFlight = 32;

type Publish = { readonly connection: NatsConnection; readonly subject: string };

async function rate({ connection, subject }: Publish, waiting: number): Promise<number> {
  const count = waiting === 1 ? publishes / 4 : publishes;
  const ms = await timed(() => each(count, waiting, () => connection.request(subject, frame)));
  return (count / ms) * 1_000;
}

/** Measures both alternately, so that other load on the machine affects both equally. */
async function compare(bus: Publish, bare: Publish, waiting: number): Promise<{ value: number; limit: number }> {
  const taken = { bus: [] as number[], bare: [] as number[] };
  for (const warmUp of [bus, bare]) await rate(warmUp, waiting);
  for (let round = 0; round < rounds; round++) {
    taken.bus.push(await rate(bus, waiting));
    taken.bare.push(await rate(bare, waiting));
  }
  return { value: median(taken.bus), limit: median(taken.bare) };
}

async function measure() {
  await using server = await startBus();
  await using bare = await BareNats.start();
  const [owner] = await makeUsers(server, 1);
  if (owner === undefined) throw new Error("no user");
  const room = await createRoom(server, owner, policy("encrypt", "persist"));
  const config = bareStream(0);
  const [member, plain] = [await dial(server, owner), await bare.connect()];
  await createStream(plain, config);
  const mine = { connection: member, subject: room.state.subject };
  const theirs = { connection: plain, subject: config.subjects[0] };
  const figures = { rate: await compare(mine, theirs, 1), pipelined: await compare(mine, theirs, inFlight) };
  await Promise.all([member.close(), plain.close()]);
  return figures;
}

/** Measures what accounts add to the cost of a stored publish. */
export const ackedPublish = workload({
  name: "acked-publish",
  goal: { rate: { unit: "/s", ofLimit: 0.8 }, pipelined: { unit: "/s" } },
  recipe:
    `publishes of ${frame.byteLength} B by a member across the accounts, each waiting for the ack of the one before, ` +
    `median of ${rounds}; pipelined: ${inFlight} waiting; limit: the same on a bare nats-server with the same stream`,
  run: measure,
});
