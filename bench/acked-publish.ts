/** A member's acknowledged publish into a persisted room, beside the same publish on a bare nats-server. */
import { randomBytes } from "node:crypto";
import type { NatsConnection } from "nats";
import { createRoom, dial, policy } from "../test/support/peer.ts";
import { BareNats, bareStream, createStream } from "./support/bare-nats.ts";
import { makeUsers, startBus } from "./support/bus.ts";
import { each, median, quantile, timed } from "./support/measure.ts";
import { workload } from "./workload.ts";

const frame = randomBytes(512);
const rounds = 7;
const publishes = 4_000;
const inFlight = 32;

async function rate(connection: NatsConnection, subject: string): Promise<number> {
  const ms = await timed(() => each(publishes, inFlight, () => connection.request(subject, frame)));
  return (publishes / ms) * 1_000;
}

async function latency(connection: NatsConnection, subject: string): Promise<number> {
  const taken: number[] = [];
  for (let index = 0; index < 500; index++) taken.push(await timed(() => connection.request(subject, frame)));
  return quantile(taken, 0.5);
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
  const [mine, theirs] = [room.state.subject, config.subjects[0]];
  for (const warmUp of [() => rate(member, mine), () => rate(plain, theirs)]) await warmUp();
  const taken = { bus: [] as number[], bare: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    taken.bus.push(await rate(member, mine));
    taken.bare.push(await rate(plain, theirs));
  }
  const p50 = { value: await latency(member, mine), limit: await latency(plain, theirs) };
  await Promise.all([member.close(), plain.close()]);
  return { rate: { value: median(taken.bus), limit: median(taken.bare) }, p50 };
}

/** What the accounts cost a publish that is stored. */
export const ackedPublish = workload({
  name: "acked-publish",
  goal: { rate: { unit: "/s", ofLimit: 0.8 }, p50: { unit: "ms" } },
  recipe:
    `${publishes} publishes of ${frame.byteLength} B, ${inFlight} waiting for their ack, by a member across the accounts, ` +
    `median of ${rounds}; p50: one at a time; limit: the same on a bare nats-server with the same stream`,
  run: measure,
});
