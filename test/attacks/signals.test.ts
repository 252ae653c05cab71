/**
 * Signals of a room on the data plane: who may publish and receive them, that no stream can capture them, and that the
 * growth of a room disconnects no member. Source: docs/protocol/logins.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { headers, type NatsConnection } from "nats";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { Nats } from "../../src/contracts/nats.ts";
import { crossings } from "../../src/nats/crossings.ts";
import { builtinNamespaces, namespaceFault, signalSubject } from "../../src/wire/names.ts";
import { until } from "../support/executable.ts";
import { bootInProcess, type InProcess, insertUser, serviceOf } from "../support/in-process.ts";
import { inside, jetStream } from "../support/inside.ts";
import {
  acceptRoom,
  addMembers,
  createRoom,
  dial,
  inviteMembers,
  kick,
  type OwnRoom,
  policy,
} from "../support/peer.ts";
import { pub, rawPeer } from "../support/raw-nats.ts";

let running: InProcess;
let ana: Identity;
let bob: Identity;
let others: Identity[];
const open: NatsConnection[] = [];

beforeAll(async () => {
  running = await bootInProcess({ settings: { rooms: { signal_members_max: 3 } } });
  [ana, bob, ...others] = (await Promise.all(
    ["ana", "bob", "cleo", "dan", "eve"].map((name) => insertUser(running, name)),
  )) as [Identity, Identity, ...Identity[]];
});
afterAll(async () => {
  await Promise.all(open.map((connection) => connection.close()));
  await running[Symbol.asyncDispose]();
});

async function connected(identity: Identity): Promise<NatsConnection> {
  const connection = await dial(running.server, identity);
  open.push(connection);
  return connection;
}
const roomOf = async (...members: Identity[]) =>
  addMembers(running.server, await createRoom(running.server, ana, policy("persist")), ...members);

/** Whether a peer that logs in now may receive and send the signals of a room. */
async function hasSignals(identity: Identity, room: OwnRoom): Promise<boolean> {
  using peer = await rawPeer(running.server.ready.nats, identity);
  const answers = [
    await peer.exchange(`SUB ${signalSubject(room.state.roomId, "*")} 1\r\n`),
    await peer.exchange(pub(signalSubject(room.state.roomId, identity.endpoint), "x")),
  ];
  const refused = answers.filter((answer) => answer.includes("Permissions Violation"));
  expect([0, 2]).toContain(refused.length);
  return refused.length === 0;
}

test("reach the members and no stream, not even one of the bus itself that asks for every subject", async () => {
  const room = await roomOf(bob);
  const bus = await inside(running.server, "BUS");
  open.push(bus);
  const name = "CAPTURE";
  const made = await jetStream(bus, `STREAM.CREATE.${name}`, { name, subjects: ["_SIG.>"], storage: "file" });
  expect(made.error).toBeUndefined();
  const overheard: string[] = [];
  bus.subscribe(">", { callback: (_, { subject }) => void overheard.push(subject) });
  await bus.flush();

  const [sender, receiver] = [await connected(bob), await connected(ana)];
  const heard: string[] = [];
  receiver.subscribe(signalSubject(room.state.roomId, "*"), {
    callback: (_, message) => void heard.push(`${message.subject} ${message.string()}`),
  });
  await receiver.flush();
  const subject = signalSubject(room.state.roomId, bob.endpoint);
  const dedup = headers();
  dedup.set("Nats-Msg-Id", "one");
  sender.publish(subject, "1");
  sender.publish(subject, "2", { headers: dedup, reply: room.state.subject });
  sender.publish(subject, "3", { reply: `_INBOX.${bob.endpoint}.r.x` });
  await sender.flush();
  await until("the other member receives all", () => heard.length === 3);
  expect(heard).toEqual([1, 2, 3].map((n) => `${subject} ${n}`));
  // A message of the room crosses the same connections later: whatever crossed before has arrived by now.
  await sender.request(room.state.subject, "a message", { timeout: 5_000 });
  await bus.flush();
  expect(overheard.filter((one) => one.startsWith("_SIG"))).toEqual([]);
  const { state } = await jetStream<{ state: { messages: number } }>(bus, `STREAM.INFO.${name}`);
  expect(state.messages).toBe(0);
  const kept = await jetStream<{ state: { messages: number } }>(bus, `STREAM.INFO.UNIBUS_${room.state.roomId}`);
  expect(kept.state.messages).toBe(1);
  await jetStream(bus, `STREAM.DELETE.${name}`);
});

test("cross between no accounts, and no setting can make them", async () => {
  const known = (await serviceOf(running, Nats)).namespaces;
  expect(crossings(known).filter(({ subject }) => /^(_SIG|[>*])/.test(subject))).toEqual([]);
  expect(builtinNamespaces.some((namespace) => namespace.startsWith("_"))).toBe(false);
  for (const namespace of ["_SIG", "_", "_x", ">", "*", ""]) expect(namespaceFault(namespace)).not.toBeNull();
});

test("are granted in accepted rooms with at most as many members as the setting says", async () => {
  const [cleo, dan] = others as [Identity, Identity];
  const room = await roomOf(bob);
  const invited = await inviteMembers(running.server, room, cleo);
  expect(await hasSignals(bob, room)).toBe(true);
  expect(await hasSignals(cleo, room)).toBe(false);
  await acceptRoom(running.server, invited, cleo);
  expect(await hasSignals(cleo, room)).toBe(true);
  await inviteMembers(running.server, invited, dan);
  for (const one of [ana, bob, cleo]) expect(await hasSignals(one, room)).toBe(false);
});

test("are lost by no connection that is open when the room grows, and no connection ends", async () => {
  const [cleo, dan] = others as [Identity, Identity];
  const room = await roomOf(bob, cleo);
  const connection = await connected(bob);
  await addMembers(running.server, room, dan);
  expect(await hasSignals(bob, room)).toBe(false);
  // A kick makes the bus compare what every connection of a user holds with what the user may do now.
  const other = await roomOf(bob);
  const later = await connected(bob);
  await kick(running.server, other, bob, ana);
  await later.closed();
  await connection.flush();
  expect(connection.isClosed()).toBe(false);
});
