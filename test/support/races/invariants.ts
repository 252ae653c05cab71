/**
 * Invariants that must hold after any race: who may read, to whom owners must seal, which streams and consumers exist,
 * and the chain of statements all agree with the store, and the store agrees with the answers of the commands.
 * `checkRace` checks one race and collects violations in `Faults`. Used by race.ts.
 */
import type { NatsConnection } from "nats";
import type { Identity } from "../../../src/client/crypto/identity.ts";
import { verifySignature } from "../../../src/contracts/signature.ts";
import { isIn } from "../../../src/contracts/stay-rules.ts";
import { InviteStore, RoomStore } from "../../../src/contracts/store.ts";
import type { ApiReply } from "../../../src/nats/jetstream.ts";
import { type ChainLink, firstFault, stepFault } from "../../../src/wire/chain.ts";
import { fromBase64, sha256Hex } from "../../../src/wire/encoding.ts";
import { consumerName, streamName } from "../../../src/wire/names.ts";
import { parseStatement, statementText } from "../../../src/wire/statement.ts";
import { until } from "../executable.ts";
import { serviceOf } from "../in-process.ts";
import { at } from "../peer.ts";
import { success, statements as withStatement } from "./answers.ts";
import { type CommandName, restoredIn, startsRevoked } from "./commands.ts";
import type { Outcome, Scene } from "./scene.ts";
import { type StoredRoom, stayIn, storedRoom, type Truth, truthOf } from "./truth.ts";

/** How long background effects of a change may take (a disconnect, a removed consumer), in milliseconds. */
const soonMs = 15_000;

/** A command with its answer. */
export type Answered = readonly [command: CommandName, outcome: Outcome];

/** Collects violations. */
export class Faults {
  readonly found: string[] = [];

  /** Records a violation if the condition is false. */
  check(holds: boolean, what: string): void {
    if (!holds) this.found.push(what);
  }
}

/** Waits for a condition; false if it does not hold in time. */
const soon = (holds: () => boolean | Promise<boolean>): Promise<boolean> =>
  until("it holds", holds, soonMs).then(
    () => true,
    () => false,
  );

/** The chain of a room is linear, signed by its owners, and ends with the stored state. */
async function checkChain({ record, stays, statements }: StoredRoom, faults: Faults): Promise<void> {
  let before: ChainLink | null = null;
  for (const [index, { version, text, by, sig }] of statements.entries()) {
    const parsed = parseStatement(text);
    if ("fault" in parsed) return faults.check(false, `statement ${index + 1}: ${parsed.fault}`);
    const fault = before === null ? firstFault(parsed) : stepFault(before, parsed);
    const owners: readonly string[] = before?.parsed.owners ?? parsed.owners;
    const isSigned = await verifySignature(by, text, fromBase64(sig) ?? new Uint8Array());
    faults.check(fault === null && version === index + 1, `statement ${index + 1} ${fault?.what ?? "is out of turn"}`);
    faults.check(isSigned && owners.includes(by), `statement ${index + 1} is not signed by an owner`);
    before = { hash: sha256Hex(text), parsed };
  }
  if (record === null || before === null) return faults.check(false, "a live room has no statement");
  const { roomId, version, subject, policy, epoch, keyCheck } = record;
  const { prev } = before.parsed;
  const text = statementText({ roomId, version, prev, subject, policy, epoch, keyCheck, lines: stays });
  faults.check(sha256Hex(text) === before.hash, "the last statement is not the state of the room");
  faults.check(record.statementHash === before.hash, "the room names another statement than its last");
}

/** Checks which streams and consumers exist. */
async function checkStream(scene: Scene, stored: StoredRoom, roomId: string, faults: Faults): Promise<void> {
  const { js } = scene.stage;
  const stream = streamName(roomId);
  const isLive = stored.record?.deletedAt === null;
  const info = await js.call<ApiReply>(`STREAM.INFO.${stream}`);
  faults.check((info.error === undefined) === isLive, isLive ? "a live room has no stream" : "a stream has no room");
  if (!isLive) return;
  const wanted = stored.stays
    .filter(isIn)
    .flatMap(({ endpoint, devices }) => devices.map((device) => consumerName(roomId, endpoint, device)))
    .sort();
  let names: readonly string[] = [];
  const isRight = await soon(async () => {
    const reply = await js.call<ApiReply & { consumers: string[] | null }>(`CONSUMER.NAMES.${stream}`);
    names = [...(reply.consumers ?? [])].sort();
    return names.join() === wanted.join();
  });
  faults.check(isRight, `consumers are [${names.join()}], devices [${wanted.join()}]`);
}

/** Checks who may read over HTTP. */
async function checkReaders(scene: Scene, { room, isLive, active }: Truth, faults: Faults): Promise<void> {
  const people = { owner: scene.owner, member: scene.member, candidate: scene.candidate };
  const reads = Object.entries(people).flatMap(([name, who]) => {
    const isActive = active.get(who.endpoint) === true;
    const expected = !isActive ? 401 : !isLive ? 410 : stayIn(room, who) === null ? 403 : 200;
    return ["/key", "/history", "/members"].map(async (part) => {
      const { status } = await scene.call(who, "GET", at(scene.room, part));
      faults.check(status === expected, `GET ${part} of the ${name} is answered by ${status}, not ${expected}`);
    });
  });
  // At once, so that they share what the store asks for each read.
  await Promise.all(reads);
}

/** Checks to whom owners must seal, and whether a rekey is pending, as the owner reads it. */
async function checkMembers(scene: Scene, { room, active }: Truth, faults: Faults): Promise<void> {
  for (const { endpoint } of room.stays.filter(isIn)) {
    faults.check(active.get(endpoint) !== false, `${nameOf(scene, endpoint)} is in the room and no active user`);
  }
  const { json } = await scene.call(scene.owner, "GET", at(scene.room, "/members"));
  const lines = json.members as { endpoint: string; until: number; left: boolean }[];
  const sealedTo = lines.filter(({ until, left }) => until === 0 && !left).map(({ endpoint }) => endpoint);
  const members = room.stays.filter(isIn).map(({ endpoint }) => endpoint);
  faults.check(sealedTo.join() === members.join(), "the owner is asked to seal to others than the members");
  const isPending = room.stays.some((stay) => stay.until === 0 && stay.leftAt !== null);
  const shown = (await scene.call(scene.owner, "GET", at(scene.room))).json.rekey_pending;
  faults.check(shown === isPending && room.record?.rekeyPending === isPending, `rekey_pending is ${String(shown)}`);
}

function nameOf({ owner, member, candidate }: Scene, endpoint: string): string {
  const people = { owner, member, candidate };
  return Object.entries(people).find(([, who]) => who.endpoint === endpoint)?.[0] ?? endpoint;
}

/** Opens a new connection of a user with a subscription to a subject; `received` is null if that is denied. */
async function subscribed(
  scene: Scene,
  who: Identity,
  subject: string,
): Promise<{ readonly nats: NatsConnection; readonly received: string[] | null } | null> {
  const nats = await scene.dial(who).catch(() => null);
  if (nats === null) return null;
  const received: string[] = [];
  let isDenied = false;
  nats.subscribe(subject, {
    callback: (error, message) => {
      if (error === null) received.push(message.string());
      else isDenied = true;
    },
  });
  await nats.flush();
  return { nats, received: isDenied ? null : received };
}

/** Checks who may read on the data plane: over a new connection, and over the one from before the race. */
async function checkDataPlane(scene: Scene, { room, isLive, active }: Truth, faults: Faults): Promise<void> {
  const { member, connection, pair } = scene;
  const { subject } = scene.room.state;
  const isActive = active.get(member.endpoint) === true;
  const isEntitled = isActive && isLive && (stayIn(room, member)?.acceptedAt ?? null) !== null;
  const fresh = await subscribed(scene, member, subject);
  faults.check((fresh !== null) === isActive, `the member's login is ${fresh === null ? "refused" : "admitted"}`);
  const mayRead = fresh !== null && fresh.received !== null;
  faults.check(mayRead === isEntitled, `the member may ${mayRead ? "" : "not "}subscribe`);
  if (!isEntitled) {
    if (pair.includes("accept")) return;
    faults.check(await soon(() => connection.isClosed()), "the member's connection was not cut");
    return;
  }
  const nats = await scene.ownersConnection();
  await nats.request(subject, "marker", { timeout: soonMs });
  const isHeard = await soon(() => fresh?.received?.includes("marker") === true);
  faults.check(isHeard, "the member's new connection did not receive");
  // Before the room was accepted, the subscription was denied; the real client subscribes again later. And a connection
  // that may acknowledge for a removed durable has too many permissions: the next check disconnects it.
  if (pair.includes("accept") || pair.includes("remove durable")) return;
  faults.check(await soon(() => scene.received.includes("marker")), "the member's connection did not receive");
}

/** Checks what must hold regardless of the answers. */
export async function checkState(scene: Scene, faults: Faults): Promise<Truth> {
  const truth = await truthOf(scene);
  const { room, isLive } = truth;
  await checkReaders(scene, truth, faults);
  await checkStream(scene, room, scene.room.state.roomId, faults);
  await checkDataPlane(scene, truth, faults);
  const rooms = serviceOf(scene.stage.nodes[0], RoomStore);
  const { roomId, subject } = scene.room.state;
  const holder = await rooms.findRoomId(subject);
  if (isLive) {
    await checkChain(room, faults);
    await checkMembers(scene, truth, faults);
    faults.check(holder === roomId, "a live room does not hold its subject");
  } else {
    faults.check(holder !== roomId, "a deleted room holds its subject");
    faults.check(room.stays.length + room.statements.length === 0, "a deleted room has rows");
  }
  return truth;
}

/** Rooms that `create` made exist completely; rooms that it did not make do not exist at all. */
async function checkAttempts(scene: Scene, { active }: Truth, faults: Faults): Promise<void> {
  const rooms = serviceOf(scene.stage.nodes[0], RoomStore);
  let made = 0;
  for (const { room, outcome } of scene.attempts) {
    const { roomId, subject } = room.state;
    const stored = await storedRoom(scene, roomId);
    const isMade = outcome.status === success.create;
    faults.check(
      (stored.record !== null) === isMade,
      `create was answered by ${outcome.status}, and the room is not so`,
    );
    await checkStream(scene, stored, roomId, faults);
    if (!isMade) continue;
    made += 1;
    await checkChain(stored, faults);
    faults.check((await rooms.findRoomId(subject)) === roomId, "a created room does not hold its subject");
    const isMember = stayIn(stored, scene.candidate) !== null;
    faults.check(isMember === active.get(scene.candidate.endpoint), "the creator is in the room and no active user");
  }
  if (scene.attempts.length === 2) faults.check(made === 1, `${made} rooms were made of one subject`);
  faults.check((await rooms.countRoomsBy(scene.candidate.endpoint)) === made, "the creator's rooms are miscounted");
}

/** An erased message is gone, for one request of several, and any other one is there. */
async function checkErased(scene: Scene, answers: readonly Answered[], faults: Faults): Promise<void> {
  const erased = answers.filter(([command, { status }]) => command === "erase" && status === success.erase).length;
  const { seqs } = (await scene.call(scene.owner, "GET", at(scene.room, "/history"))).json as { seqs: number[] };
  faults.check(erased <= 1, "a message was erased twice");
  faults.check(seqs.includes(1) === (erased === 0), `the message is ${erased === 0 ? "not " : ""}there`);
}

/** Checks what the answers promise. */
async function checkAnswers(scene: Scene, answers: readonly Answered[], truth: Truth, faults: Faults): Promise<void> {
  const { room, isLive, active } = truth;
  const isDone = (name: CommandName) =>
    answers.some(([command, { status }]) => command === name && status === success[name]);
  const { member, candidate, newcomer, invite, stage } = scene;
  const added = answers.filter(([command, { status }]) => withStatement.has(command) && status < 300).length;
  faults.check(isLive === !isDone("delete"), `the room is ${isLive ? "" : "not "}there`);
  if (isLive) {
    const before = scene.room.state.version;
    faults.check(room.record?.version === before + added, `${added} changes, version ${room.record?.version}`);
    const isOut = stayIn(room, member) === null;
    if (scene.pair.includes("erase")) await checkErased(scene, answers, faults);
    if (isDone("kick") || isDone("leave")) faults.check(isOut, "the member is not out");
    const isRevoked = isDone("revoke user") || isDone("delete user") || startsRevoked(scene.pair);
    if (isRevoked && scene.pair.includes("restore user")) {
      // A candidate may be added after the restoration.
      const wasIn = restoredIn(scene).endpoint === member.endpoint;
      faults.check(!wasIn || isOut, "a restored user is in a room from before the revocation");
    }
    if (isDone("accept")) faults.check(isOut || stayIn(room, member)?.acceptedAt !== null, "nothing was accepted");
    if (isDone("role")) faults.check(isOut || stayIn(room, member)?.role === "owner", "the member is not an owner");
    const isAdded = room.stays.some(({ endpoint }) => endpoint === candidate.endpoint);
    faults.check(isAdded === isDone("add"), `the candidate was ${isAdded ? "" : "not "}added`);
  }
  const record = await serviceOf(stage.nodes[0], InviteStore).getInvite(invite.id);
  const isRemoved = isDone("revoke user") || isDone("delete user");
  if (isDone("redeem")) {
    faults.check((record?.usedAt ?? null) !== null, "the invite is not used");
    faults.check(active.get(newcomer.endpoint) === !isRemoved, "the newcomer is not what the answers say");
  } else if (isDone("cancel")) faults.check(record === null, "a cancelled invite is there");
  faults.check(!(isDone("redeem") && isDone("cancel")), "an invite was redeemed and cancelled");
}

/** Checks everything that must hold after a race. */
export async function checkRace(scene: Scene, answers: readonly Answered[], faults: Faults): Promise<Truth> {
  const truth = await checkState(scene, faults);
  await checkAttempts(scene, truth, faults);
  await checkAnswers(scene, answers, truth, faults);
  return truth;
}
