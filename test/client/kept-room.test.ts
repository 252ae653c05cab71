/**
 * The copy of a room that a client keeps for a restore: complete and without gaps, with any state.
 * Source: docs/protocol/rooms.md.
 */
import { describe, expect, test } from "bun:test";
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import { KeptRoom, verifyPast } from "../../src/client/trust/kept-room.ts";
import { type ClientState, MemoryState } from "../../src/client/trust/state.ts";
import { openState } from "../../src/client/trust/state-node.ts";
import { sha256Hex } from "../../src/wire/encoding.ts";
import { Folder } from "../support/executable.ts";
import { Story } from "../support/way-back.ts";

const ana = await generateIdentity();
const bob = await generateIdentity();

/** A room with `versions` statements, as GET statements returns them. */
function story(versions: number): Story {
  const made = Story.of(ana).add(ana, bob);
  while (made.version < versions) made.rekey(ana);
  return made;
}

const given = (made: Story, from: number, to = made.version) =>
  made.versions.slice(from - 1, to).map(({ statement }, index) => ({ version: from + index, ...statement }));
const hashOf = (made: Story, version: number) => ({ version, hash: sha256Hex(made.statement(version).text) });

const states: readonly [string, (folder: Folder) => ClientState][] = [
  ["in memory", () => new MemoryState()],
  ["in files", (folder) => openState({ folder: folder.path, bus: "bus" })],
];

describe.each(states)("a room stored %s", (_, open) => {
  test("has every statement and key, also for another process, and is complete when nothing is missing", async () => {
    using folder = new Folder();
    const state = open(folder);
    const made = story(200);
    const first = new KeptRoom(made.id, state);
    expect([await first.version(), (await first.statements()).size, (await first.keys()).size]).toEqual([null, 0, 0]);
    await Promise.all([first.addStatements(given(made, 1, 130)), first.addKey(1, "a"), first.addKey(2, "b")]);
    const members = made.members(130);
    await first.setMembers({ version: 130, subject: "room.x", members });
    // An older version never replaces it.
    await first.setMembers({ version: 90, subject: "room.x", members: [] });
    const second = new KeptRoom(made.id, state);
    expect(await second.version()).toEqual({ version: 130, subject: "room.x", complete: 130, members });
    // A client that skipped versions leaves a gap, which another client fills.
    await second.addStatements(given(made, 160, 200));
    await second.setMembers({ version: 200, subject: "room.x", members: made.members() });
    expect((await second.version())?.complete).toBe(130);
    await first.addStatements(given(made, 131, 159));
    const third = new KeptRoom(made.id, state);
    expect(await third.version()).toMatchObject({ version: 200, complete: 200 });
    expect([...(await third.statements()).values()]).toEqual(given(made, 1));
    expect([...(await third.keys())]).toEqual([
      [1, "a"],
      [2, "b"],
    ]);
  });

  test("drops the versions after the one that it is rolled back to", async () => {
    using folder = new Folder();
    const room = new KeptRoom(story(1).id, open(folder));
    const made = story(150);
    await room.addStatements(given(made, 1));
    await room.setMembers({ version: 150, subject: "room.x", members: made.members() });
    for (const epoch of [1, 5, 6]) await room.addKey(epoch, `${epoch}`);
    await room.cut(70, 5);
    expect([...(await room.statements()).keys()]).toEqual(Array.from({ length: 70 }, (_, n) => n + 1));
    expect([...(await room.keys()).keys()]).toEqual([1, 5]);
    expect(await room.version()).toMatchObject({ version: 0, complete: 70, members: [] });
  });

  test("goes back to an older pin only on request, and lists its rooms", async () => {
    using folder = new Folder();
    const state = open(folder);
    const { id } = story(1);
    const pin = (version: number) => {
      const owners = [ana.signPubHex];
      return { version, hash: sha256Hex(`${version}`), epoch: 1, owners, firstOwners: owners };
    };
    await state.saveRoom(id, pin(9));
    expect(await state.saveRoom(id, pin(4))).toEqual(pin(9));
    await state.returnRoom(id, pin(4));
    expect(await state.room(id)).toEqual(pin(4));
    await state.saveRoom(id, pin(5));
    expect(await state.room(id)).toEqual(pin(5));
    expect(await state.rooms()).toEqual([id]);
  });
});

describe("statements before the versions that a client has seen", () => {
  const made = story(6);
  const swapped = () => given(made, 1, 4).with(1, given(Story.of(ana).add(ana, bob), 2)[0] as never);

  test("are accepted if they lead to the seen version and are signed by its owners", async () => {
    await verifyPast(made.id, null, given(made, 1, 4), hashOf(made, 4));
    await verifyPast(made.id, given(made, 2, 2)[0] ?? null, given(made, 3, 6), hashOf(made, 6));
  });

  test.each([
    ["lead to another version", given(made, 1, 4), hashOf(made, 5)],
    ["belong to another room", given(story(4), 1, 4), hashOf(made, 4)],
    [
      "include an unsigned one",
      given(made, 1, 4).map((one) => (one.version === 3 ? { ...one, sig: ana.kexSig } : one)),
      hashOf(made, 4),
    ],
    ["skip a version", given(made, 1, 4).toSpliced(1, 1), hashOf(made, 4)],
    ["start later", given(made, 2, 4), hashOf(made, 4)],
    ["include one of another room", swapped(), hashOf(made, 4)],
  ])("are refused if they %s", async (_, statements, known) => {
    const refused = verifyPast(made.id, null, statements, known);
    expect(
      await refused.then(
        () => null,
        (error: { code: string }) => error.code,
      ),
    ).toBe("room_forked");
  });
});
