/**
 * Benchmarks of the client SDK: publish (sealed, signed and stored messages from one process), delivery to another
 * member, rekeys, many rooms, and one `unibus send`. Each figure is compared with the raw cost where there is one.
 */
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { generateIdentity, type Identity, identityText } from "../src/client/crypto/identity.ts";
import { type Bus, connect, type Room } from "../src/client/index.ts";
import { type Server, unibus } from "../test/support/executable.ts";
import { call, freshSubject } from "../test/support/peer.ts";
import { BareNats, bareStream, createStream } from "./support/bare-nats.ts";
import { makeUsers, startBus } from "./support/bus.ts";
import { each, median, quantile, timed } from "./support/measure.ts";
import type { OpenedRooms } from "./support/open-rooms.ts";
import { workload } from "./workload.ts";

const payload = randomBytes(512);
const rounds = 7;
const publishes = 3_000;
const deliveries = 2_000;
const rekeys = 5;
const membersEach = 250;
const roomCount = 1_000;
const sends = 15;

const open = (server: Server, identity: Identity): Promise<Bus> =>
  connect({ url: server.ready.http, identity, state: "memory", sendLimits: { messagesMax: 1_000, bytesMax: 1e8 } });

async function rate(publish: () => Promise<unknown>, waiting: number): Promise<number> {
  const count = waiting === 1 ? publishes / 4 : publishes;
  return (count / (await timed(() => each(count, waiting, publish)))) * 1_000;
}

/** Measures both alternately, so that other load on the machine affects both equally. */
export async function compare(ours: () => Promise<unknown>, bare: () => Promise<unknown>, waiting: number) {
  const taken = { ours: [] as number[], bare: [] as number[] };
  for (const warmUp of [ours, bare]) await rate(warmUp, waiting);
  for (let round = 0; round < rounds; round++) {
    taken.ours.push(await rate(ours, waiting));
    taken.bare.push(await rate(bare, waiting));
  }
  return { value: median(taken.ours), limit: median(taken.bare) };
}

async function measurePublish() {
  await using server = await startBus();
  await using bare = await BareNats.start();
  const [owner] = await makeUsers(server, 1);
  await using bus = await open(server, owner as Identity);
  const room = await bus.createRoom(freshSubject(), "matrix");
  const config = bareStream(0);
  const plain = await bare.connect();
  await createStream(plain, config);
  const ours = () => room.send(payload);
  const theirs = () => plain.request(config.subjects[0], payload);
  const figures = { "1 in flight": await compare(ours, theirs, 1), "64 in flight": await compare(ours, theirs, 64) };
  await plain.close();
  return figures;
}

/** Measures publishes that are sealed, signed and stored, compared with bare publishes. */
export const clientPublish = workload({
  name: "client-publish",
  goal: { "1 in flight": { unit: "/s", ofLimit: 0.6 }, "64 in flight": { unit: "/s", ofLimit: 0.55 } },
  recipe:
    `room.send of ${payload.length} B, encrypted, signed, acknowledged by JetStream, median of ${rounds}; ` +
    "limit: a bare JetStream publish of the same bytes in the same run",
  run: measurePublish,
});

async function measureDelivery() {
  await using server = await startBus();
  const [first, second] = (await makeUsers(server, 2)) as [Identity, Identity];
  await using ana = await open(server, first);
  await using bob = await open(server, second);
  const mine = await ana.createRoom(freshSubject(), "matrix");
  await mine.membership.add(second.endpoint);
  let onMessage: (() => void) | null = null;
  await (await bob.room(mine.id)).onMessage(() => onMessage?.());
  const one = async (): Promise<number> => {
    const began = performance.now();
    const came = new Promise<number>((resolve) => {
      onMessage = () => resolve(performance.now() - began);
    });
    const [ms] = await Promise.all([came, mine.send(payload)]);
    return ms;
  };
  const samples: number[] = [];
  for (let index = 0; index < deliveries; index++) {
    const ms = await one();
    // Discard the first quarter: the JIT compiler is still warming up.
    if (index >= deliveries / 4) samples.push(ms);
  }
  return { p50: { value: quantile(samples, 0.5) }, p99: { value: quantile(samples, 0.99) } };
}

/** Measures the time from `send` until the other member has the plaintext. */
export const clientDelivery = workload({
  name: "client-delivery",
  goal: { p50: { unit: "ms", atMost: 0.8 }, p99: { unit: "ms", atMost: 3 } },
  recipe: `from room.send of ${payload.length} B to onMessage of another member, both in one process, one at a time`,
  run: measureDelivery,
});

/** Creates users that consist of a row only. */
async function makeMembers(server: Server, admin: Identity, count: number): Promise<string[]> {
  const endpoints: string[] = [];
  await each(count, 8, async (index) => {
    const { signPubHex, kexPubHex, kexSig, endpoint } = await generateIdentity();
    const body = { sign_pub: signPubHex, handle: `m${index}`, role: "member", kex_pub: kexPubHex, kex_sig: kexSig };
    const { status, text } = await call(server.ready.http, admin, "POST", "/users", body);
    if (status !== 201) throw new Error(`POST /users: ${status} ${text}`);
    endpoints.push(endpoint);
  });
  return endpoints;
}

async function rekeyMs(room: Room): Promise<{ value: number }> {
  await room.membership.rekey();
  const samples: number[] = [];
  for (let round = 0; round < rekeys; round++) samples.push(await timed(() => room.membership.rekey()));
  return { value: median(samples) };
}

async function measureRekey() {
  await using server = await startBus();
  const [owner] = (await makeUsers(server, 1)) as [Identity];
  await using bus = await open(server, owner);
  const endpoints = await makeMembers(server, owner, 1_000);
  const room = await bus.createRoom(freshSubject(), "matrix");
  const grow = async (to: number): Promise<void> => {
    while (room.members.length < to) {
      const from = room.members.length - 1;
      await room.membership.add(endpoints.slice(from, Math.min(from + membersEach, to - 1)));
    }
  };
  await grow(50);
  const small = await rekeyMs(room);
  await grow(250);
  const middle = await rekeyMs(room);
  await grow(1_000);
  return { "50 members": small, "250 members": middle, "1,000 members": await rekeyMs(room) };
}

/** Measures a rekey: create a key, seal it to each member, then sign, send, verify and store the statement. */
export const clientRekey = workload({
  name: "client-rekey",
  goal: {
    "50 members": { unit: "ms", atMost: 20 },
    "250 members": { unit: "ms", atMost: 80 },
    "1,000 members": { unit: "ms", atMost: 300 },
  },
  recipe: `membership.rekey of a room, the owner's own time, median of ${rekeys}`,
  run: measureRekey,
});

async function measureRooms() {
  await using server = await startBus();
  const [owner] = (await makeUsers(server, 1)) as [Identity];
  {
    // A lazy client opens no connection, so joining a room does not swap one.
    await using lazy = await connect({ url: server.ready.http, identity: owner, state: "memory", lazy: true });
    await each(roomCount, 8, () => lazy.createRoom(freshSubject(), "matrix"));
  }
  const script = join(import.meta.dir, "support", "open-rooms.ts");
  const child = Bun.spawn([process.execPath, script], { stdin: "pipe", stdout: "pipe" });
  child.stdin.write(JSON.stringify({ url: server.ready.http, identity: identityText(owner) }));
  await child.stdin.end();
  const { ms, bytes, count } = (await new Response(child.stdout).json()) as OpenedRooms;
  if (count !== roomCount) throw new Error(`${count} rooms were opened, not ${roomCount}`);
  return { time: { value: ms }, memory: { value: bytes / 1e6 } };
}

/** Measures opening many rooms in one client, with each room verified. */
export const clientRooms = workload({
  name: "client-rooms",
  goal: { time: { unit: "ms", atMost: 2_000 }, memory: { unit: "MB", atMost: 60 } },
  recipe: `${roomCount} rooms opened by one client in a process of its own, 32 at once; memory: what RSS grew by`,
  run: measureRooms,
});

async function measureSend() {
  await using server = await startBus();
  const [owner] = (await makeUsers(server, 1)) as [Identity];
  await using bus = await open(server, owner);
  const room = await bus.createRoom(freshSubject(), "matrix");
  const file = server.folder.file("identity.json");
  writeFileSync(file, identityText(owner), { mode: 0o600 });
  const samples: number[] = [];
  for (let index = 0; index < sends; index++) {
    const args = ["send", room.id, "hello", "--url", server.ready.http, "--identity", file];
    const ms = await timed(async () => {
      const { code, stderr } = await unibus(server.folder, args);
      if (code !== 0) throw new Error(`unibus send: ${stderr}`);
    });
    if (index > 2) samples.push(ms);
  }
  return { p50: { value: median(samples) } };
}

/** Measures sending one message from the command line. */
export const clientSend = workload({
  name: "client-send",
  goal: { p50: { unit: "ms", atMost: 150 } },
  recipe: `\`unibus send ROOM hello\` of the executable, from exec to exit, median of ${sends - 3}`,
  run: measureSend,
});
