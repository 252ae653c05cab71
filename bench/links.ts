/** Benchmark of what chains, heads and statements cost a sender: messages with them, and without, in one run. */
import { randomBytes } from "node:crypto";
import { connect, type Room } from "../src/client/index.ts";
import { partsOf } from "../src/client/rooms/room-parts.ts";
import { freshSubject } from "../test/support/peer.ts";
import { compare } from "./client.ts";
import { makeUsers, startBus } from "./support/bus.ts";
import { workload } from "./workload.ts";

const payload = randomBytes(512);

/** Makes a room's messages have no links. */
function unlink(room: Room): Room {
  const none = { next: () => ({}), context: () => ({}), sealed: () => () => undefined };
  Object.assign(partsOf(room).sender.chain, none);
  return room;
}

async function measureLinks() {
  await using server = await startBus();
  const [identity] = await makeUsers(server, 1);
  if (identity === undefined) throw new Error("there is no user");
  await using bus = await connect({ url: server.ready.http, identity, state: "memory" });
  const linked = await bus.createRoom(freshSubject(), "matrix");
  const plain = unlink(await bus.createRoom(freshSubject(), "matrix"));
  const ours = () => linked.send(payload);
  const theirs = () => plain.send(payload);
  const figures = { "1 in flight": await compare(ours, theirs, 1), "64 in flight": await compare(ours, theirs, 64) };
  const [newest] = (await linked.history({ limit: 1 })).messages;
  const [bare] = (await plain.history({ limit: 1 })).messages;
  if (newest?.header.chain === undefined || bare?.header.chain !== undefined) throw new Error("not as intended");
  return figures;
}

/** Measures publishes with links, compared with the same without. */
export const links = workload({
  name: "links",
  goal: { "1 in flight": { unit: "/s", ofLimit: 0.95 }, "64 in flight": { unit: "/s", ofLimit: 0.95 } },
  recipe:
    `room.send of ${payload.length} B, encrypted, signed, acknowledged by JetStream, with chain, heads and statement; ` +
    "limit: the same without them, in the same run",
  run: measureLinks,
});
