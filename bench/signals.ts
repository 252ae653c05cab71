/** Benchmark: how long a signal takes between two clients, and what the presence of 200 members costs the bus. */
import { readFileSync } from "node:fs";
import type { Identity } from "../src/client/crypto/identity.ts";
import { type Bus, connect } from "../src/client/index.ts";
import { signalSubject } from "../src/wire/names.ts";
import { Server } from "../test/support/executable.ts";
import { addMembers, call, createRoom, dial, freshSubject, policy } from "../test/support/peer.ts";
import { makeUsers, unlimited } from "./support/bus.ts";
import { unlimitedLogins } from "./support/live-peer.ts";
import { each, quantile } from "./support/measure.ts";
import { workload } from "./workload.ts";

const membersCount = 200;
const samples = 60;
/** A client sends at most 10 signals a second. */
const pauseMs = 110;
const presentEveryMs = 60_000;
const watchedMs = 30_000;
/** The size of an encrypted signal without a body. */
const signalBytes = 57;
const ticksPerSecond = 100;

/** The processor time of a process so far, in milliseconds. */
function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1_000) / ticksPerSecond;
}

const open = (server: Server, identity: Identity): Promise<Bus> =>
  connect({ url: server.ready.http, identity, state: "memory" });

/** From `setIdle` of one client to the event of the other one, in milliseconds. */
async function latency(server: Server, first: Identity, second: Identity): Promise<number> {
  await using ana = await open(server, first);
  await using bob = await open(server, second);
  const mine = await ana.createRoom(freshSubject(), "matrix");
  await mine.membership.add(second.endpoint);
  const theirs = await bob.room(mine.id);
  for (const room of [mine, theirs]) await room.onMessage(() => undefined);
  let came = Promise.withResolvers<number>();
  mine.presence.on("change", () => came.resolve(performance.now()));
  theirs.presence.open();
  const taken: number[] = [];
  for (let sample = 0; sample < samples; sample++) {
    await Bun.sleep(pauseMs);
    came = Promise.withResolvers<number>();
    const sentMs = performance.now();
    theirs.presence.setIdle(sample % 2 === 0);
    const lost = Bun.sleep(2_000).then(() => Number.POSITIVE_INFINITY);
    taken.push((await Promise.race([came.promise, lost])) - sentMs);
  }
  return quantile(taken, 0.5);
}

/** The share of a core that the bus takes while 200 members of a room have it open, and what was stored. */
async function presence(server: Server, users: readonly Identity[]) {
  const [owner, ...members] = users as [Identity, ...Identity[]];
  const room = await addMembers(server, await createRoom(server, owner, policy("persist")), ...members);
  const { roomId } = room.state;
  const connections = await Promise.all(users.map((user) => dial(server, user)));
  let delivered = 0;
  for (const connection of connections) {
    connection.subscribe(signalSubject(roomId, "*"), { callback: (error) => (delivered += error === null ? 1 : 0) });
    await connection.flush();
  }
  const pids = [server.ready.pid, server.ready.nats_pid];
  const spent = (): number => pids.reduce((sum, pid) => sum + cpuMs(pid), 0);
  const [beganMs, before] = [performance.now(), spent()];
  const count = Math.floor((membersCount * watchedMs) / presentEveryMs);
  for (let n = 0; n < count; n++) {
    const [user, connection] = [users[n % users.length], connections[n % users.length]];
    connection?.publish(signalSubject(roomId, user?.endpoint ?? ""), new Uint8Array(signalBytes));
    await Bun.sleep(watchedMs / count);
  }
  const share = (spent() - before) / (performance.now() - beganMs);
  const { json } = await call(server.ready.http, owner, "GET", `/rooms/${roomId}/history`);
  await each(connections.length, 32, async (n) => connections[n]?.close());
  return { share, perSignal: delivered / count, stored: (json as { last_seq: number }).last_seq };
}

async function measure() {
  await using server = await Server.start({ args: [...unlimited, ...unlimitedLogins] });
  const users = await makeUsers(server, membersCount);
  const p50 = await latency(server, users[0] as Identity, users[1] as Identity);
  const { share, perSignal, stored } = await presence(server, users);
  return { p50: { value: p50 }, cores: { value: share }, receivers: { value: perSignal }, stored: { value: stored } };
}

/** Measures signals on a real bus. */
export const signals = workload({
  name: "signals",
  goal: {
    p50: { unit: "ms", atMost: 0.3 },
    cores: { unit: "", atMost: 0.05 },
    receivers: { unit: "", atLeast: membersCount },
    stored: { unit: "", atMost: 0 },
  },
  recipe:
    `p50: from setIdle of one client to the event of another, ${samples} signals; cores: processor time of unibus and ` +
    `nats-server while ${membersCount} connected members of one room send presence every 60 s, over 30 s`,
  run: measure,
});
