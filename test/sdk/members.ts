/**
 * Suite cases for room membership: kicks, rekeys, roles and leaving, and what each member can read afterwards.
 * Runs on every platform through `suite.ts`, so it uses only `unibus/client` and the stage.
 */
import type { Bus, Message, Room } from "unibus/client";
import { equal, ok, refused, until } from "./expect.ts";
import { busOf, type Case, freshSubject, newcomer, type Stage } from "./stage.ts";

const texts = (messages: readonly Message[]): string[] => messages.map(({ text }) => text);

/** A room of the first user with the others as members, as each of them opens it. */
async function roomOf(owner: Bus, ...others: Bus[]): Promise<[Room, ...Room[]]> {
  const mine = await owner.createRoom(freshSubject(), "matrix");
  if (others.length > 0) await mine.membership.add(others.map(({ identity }) => identity.endpoint));
  return [mine, ...(await Promise.all(others.map((bus) => bus.room(mine.id))))];
}

/** Reads to the end and returns how the reading ended. */
async function readAll(room: Room, got: string[]): Promise<unknown> {
  try {
    for await (const { text } of room.messages()) got.push(text);
    return "closed";
  } catch (error) {
    return (error as { code?: unknown }).code;
  }
}

async function kick(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  await using bob = await newcomer(stage, "bob");
  await using cleo = await newcomer(stage, "cleo");
  const [mine, bobs, cleos] = (await roomOf(ana, bob, cleo)) as [Room, Room, Room];
  const got: Message[] = [];
  await cleos.onMessage((message) => got.push(message));
  const seen: string[] = [];
  const reading = readAll(bobs, seen);
  await bobs.messages().ready;
  await mine.send("for all");
  await until("bob has received it", () => seen.length === 1);
  await mine.membership.kick(bob.identity.endpoint);
  equal(mine.epoch, 2);
  await mine.send("without bob");
  await until("cleo has received both", () => got.length === 2);
  equal(
    [texts(got), got.map(({ epoch }) => epoch)],
    [
      ["for all", "without bob"],
      [1, 2],
    ],
  );
  // From here on bob cannot read the room, and the room refuses him.
  equal([await reading, seen], ["forbidden", ["for all"]]);
  await refused("forbidden", () => bobs.history());
  await refused("forbidden", () => bobs.refresh());
  await refused("forbidden", () => bobs.send("let me in", { timeoutMs: 3_000 }));
  await refused("forbidden", () => bob.room(mine.id));
  equal(await bob.rooms(), []);
  // If he is added again in a later epoch, messages from the time between stay unreadable for him.
  await mine.membership.rekey();
  await mine.membership.add(bob.identity.endpoint);
  await mine.send("welcome back");
  await using again = await busOf(stage, bob.identity);
  const { messages } = await (await again.room(mine.id)).history();
  equal(
    texts(messages).filter((text) => text !== "for all"),
    ["welcome back"],
  );
}

async function rekey(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  await using bob = await newcomer(stage, "bob");
  const [mine, theirs] = (await roomOf(ana, bob)) as [Room, Room];
  for (const epoch of [1, 2, 3]) {
    equal(mine.epoch, epoch);
    await mine.send(`in ${epoch}`);
    await mine.membership.rekey();
  }
  const { messages } = await theirs.history();
  equal(
    [texts(messages), messages.map(({ epoch }) => epoch)],
    [
      ["in 1", "in 2", "in 3"],
      [1, 2, 3],
    ],
  );
  await theirs.send("from bob");
  equal(texts((await mine.history({ limit: 1 })).messages), ["from bob"]);
  equal([theirs.epoch, theirs.stats().dropped], [4, {}]);
}

async function roles(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  await using bob = await newcomer(stage, "bob");
  await using cleo = await newcomer(stage, "cleo");
  const [mine, theirs] = (await roomOf(ana, bob)) as [Room, Room];
  await refused("forbidden", () => theirs.membership.add(cleo.identity.endpoint));
  await mine.membership.setRole(bob.identity.endpoint, "owner");
  await theirs.refresh();
  await theirs.membership.add(cleo.identity.endpoint);
  equal(theirs.members.map(({ handle }) => handle).sort(), ["ana", "bob", "cleo"]);
  await theirs.membership.setRole(ana.identity.endpoint, "member");
  await mine.refresh();
  await refused("forbidden", () => mine.membership.kick(cleo.identity.endpoint));
  await refused("conflict", () => theirs.membership.setRole(bob.identity.endpoint, "member"));
}

async function leave(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  await using bob = await newcomer(stage, "bob");
  const [mine, theirs] = (await roomOf(ana, bob)) as [Room, Room];
  await refused("conflict", () => mine.leave());
  await theirs.send("goodbye");
  await theirs.leave();
  await refused("forbidden", () => theirs.history());
  // The owner's client learns of it, signs him out, and starts a new epoch without being asked.
  await until("bob is signed out", () => mine.epoch === 2 && mine.members.length === 1);
  equal((await ana.rooms()).find(({ id }) => id === mine.id)?.rekeyPending, false);
  equal(texts((await mine.history()).messages), ["goodbye"]);
}

async function deletion(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  await using bob = await newcomer(stage, "bob");
  const [mine, theirs] = (await roomOf(ana, bob)) as [Room, Room];
  await refused("forbidden", () => theirs.deleteRoom());
  const reading = readAll(theirs, []);
  await theirs.messages().ready;
  await mine.deleteRoom();
  equal(await reading, "gone");
  await refused("gone", () => mine.history());
  await refused("gone", () => bob.room(mine.id));
}

async function lists(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  await using bob = await newcomer(stage, "bob");
  const events: string[] = [];
  bob.on("rooms", ({ kind, roomId }) => events.push(`${kind} ${roomId}`));
  const [mine] = await roomOf(ana);
  await mine.membership.add(bob.identity.signPubHex);
  await until("bob is notified", () => events.includes(`joined ${mine.id}`));
  const [entry] = await bob.rooms();
  equal([entry?.id, entry?.subject, entry?.role, entry?.epoch], [mine.id, mine.subject, "member", 1]);
  const room = await bob.room(mine.subject);
  ok(room === (await bob.room(mine.id)), "the same room is one object");
  const people: string[] = [];
  for await (const { endpoint } of bob.directory.list({ limit: 2 })) people.push(endpoint);
  ok(people.includes(ana.identity.endpoint), "ana is in the directory");
  equal(people, [...new Set(people)].sort());
}

async function memberEvents(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  await using bob = await newcomer(stage, "bob");
  await using cleo = await newcomer(stage, "cleo");
  const [mine, theirs] = (await roomOf(ana, bob)) as [Room, Room];
  const names = new Map([ana, bob, cleo].map(({ identity }, index) => [identity.endpoint, "abc"[index]]));
  const seen: string[] = [];
  for (const kind of ["added", "removed", "role"] as const) {
    theirs.on(kind, ({ endpoint, role, by }) => {
      seen.push(`${kind} ${names.get(endpoint)} ${role} by ${names.get(by ?? "")}`);
    });
  }
  theirs.on("rekeyed", ({ epoch, by }) => seen.push(`rekeyed ${epoch} by ${names.get(by ?? "")}`));
  const changes: [() => Promise<unknown>, string[]][] = [
    [() => mine.membership.add(cleo.identity.endpoint), ["added c member by a"]],
    [() => mine.membership.setRole(bob.identity.endpoint, "owner"), ["role b owner by a"]],
    [() => theirs.membership.setRole(ana.identity.endpoint, "member"), ["role a member by b"]],
    [() => theirs.membership.kick(cleo.identity.endpoint), ["removed c member by b", "rekeyed 2 by b"]],
  ];
  for (const [change, wanted] of changes) {
    await change();
    // No notice says that another member was added.
    await theirs.refresh();
    await until(`the events ${wanted}`, () => seen.length >= wanted.length);
    equal(seen.splice(0), wanted);
  }
}

async function directRooms(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  await using bob = await newcomer(stage, "bob");
  await using cleo = await newcomer(stage, "cleo");
  const [anas, bobs, cleos] = [ana, bob, cleo].map(({ identity }) => identity.endpoint) as [string, string, string];
  await refused("invalid", () => ana.direct(anas));
  const [mine, again] = await Promise.all([ana.direct(bobs), ana.direct(bobs)]);
  ok(mine === again && /^room\.dm-[\w-]{16}$/.test(mine.subject), `one room: ${mine.subject}`);
  equal([mine.direct?.endpoint, mine.members.map(({ role }) => role)], [bobs, ["owner", "owner"]]);
  await mine.send("hello");
  const theirs = await bob.room(mine.id);
  equal(theirs.direct, null, "a room that was not accepted");
  await bob.accept(mine.id);
  equal(theirs.direct?.endpoint, anas);
  ok((await bob.direct(anas)) === theirs, "the other person finds the same room");
  // As after an interruption: the room was created, and no other person was added.
  const name = crypto.randomUUID().replaceAll("-", "").slice(0, 16);
  const alone = await cleo.createRoom(`room.dm-${name}`, "matrix");
  const completed = await cleo.direct(bobs);
  equal([completed.id, completed.direct?.endpoint], [alone.id, bobs]);
  equal(
    completed.members.map(({ role }) => role),
    ["owner", "owner"],
  );
  await theirs.membership.add(cleos);
  equal(
    theirs.addedToDirect.map(({ endpoint, by }) => [endpoint, by]),
    [[cleos, bobs]],
  );
  const { message } = await refused("forbidden", () => mine.send("for bob alone"));
  ok(message.includes(cleos) && message.includes(bobs), `who was added by whom: ${message}`);
  equal([mine.direct, theirs.direct], [null, null]);
  await mine.send("for both");
  equal(mine.addedToDirect, []);
  equal(texts((await mine.history()).messages), ["hello", "for both"]);
  ok((await ana.direct(bobs)).id !== mine.id, "another room for two");
}

/** Cases for membership. */
export const members: readonly Case[] = [
  { name: "the list of one's rooms, and the directory", run: lists },
  { name: "a kicked member cannot read later messages", run: kick },
  { name: "a rekey begins a new epoch, and members can read both", run: rekey },
  { name: "owners can promote and demote owners", run: roles },
  { name: "a member who leaves is signed out by the owner's client", run: leave },
  { name: "a deleted room is gone for all", run: deletion },
  { name: "changes of the members are events, with their signers", run: memberEvents },
  { name: "a direct room is found, made or completed, and no longer direct with a third person", run: directRooms },
];
