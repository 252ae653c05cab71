/**
 * `unibus room trust ROOM --accept-older` lets a member follow a server that was restored from an older backup. A lying
 * server must not use it to pass off another room, an invalid chain, or a chain that is not older: the client refuses
 * each of these, and what it has seen stays what it trusts. Source: docs/backup.md.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { type Identity, identityText } from "../../src/client/crypto/identity.ts";
import { Bus, type ClientState, MemoryState } from "../../src/client/index.ts";
import { openState } from "../../src/client/trust/state-node.ts";
import type { Restore } from "../../src/wire/api.ts";
import { Folder, Server, unibus } from "../support/executable.ts";
import { HostileServer, withJson } from "../support/hostile-server.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { freshSubject, policy } from "../support/peer.ts";
import { Story } from "../support/way-back.ts";

let server: Server;
let people: Cast<"ana" | "bob" | "cleo" | "dan" | "eve" | "mallory">;
let way: HostileServer;
let story: Story;
let state: ClientState;

beforeAll(async () => {
  server = await Server.start({ proxied: true, args: ["--set", "http.rate=100000"] });
  people = await castOf(server, "ana", "bob", "cleo", "dan", "eve", "mallory");
  way = await HostileServer.start(server.ready.http);
});
afterAll(async () => {
  await way[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

/** What a server shows of a room. */
interface Shown {
  readonly statements: readonly { readonly text: string; readonly by: string; readonly sig: string }[];
  readonly members: Restore["members"];
}

/** What an honest server shows of a room at a version. */
const versionOf = (of: Story, version = of.version): Shown => ({
  statements: of.versions.slice(0, version).map(({ statement }) => statement),
  members: of.members(version),
});

/** Makes the server show this room from now on. */
function show({ statements, members }: Shown): void {
  const version = statements.length;
  const numbered = statements.map((one) => ({ version: Number(one.text.split("\n")[2]), ...one }));
  const { epoch } = story.at(version).state;
  const parts: Readonly<Record<string, (query: URLSearchParams) => object>> = {
    "/members": () => ({ version, members }),
    "/statements": (query) => {
      const from = Number(query.get("from"));
      return { statements: numbered.filter((one) => one.version >= from), more: false };
    },
    "/key": () => ({ epoch, sealed_key: story.sealed(people.bob.endpoint, epoch).sealed_key }),
  };
  way.rewrite((answer, { method, target }) => {
    const [path = "", query] = target.split("?");
    const part = path.startsWith(`/rooms/${story.id}`) ? parts[path.slice(`/rooms/${story.id}`.length)] : undefined;
    if (method !== "GET" || part === undefined) return answer;
    return withJson({ ...answer, status: 200 }, part(new URLSearchParams(query)));
  });
}

/** Creates a room from which dan was removed at version 4; bob has seen version 5. */
async function seen(): Promise<ClientState> {
  const { ana, bob, cleo, dan, mallory } = people;
  story = Story.of(ana, policy("encrypt"), freshSubject());
  story.add(ana, bob, cleo, dan, mallory).role(ana, cleo, "owner").rekey(ana, dan).role(ana, cleo, "member");
  show(versionOf(story));
  const memory = new MemoryState();
  await withBus(bob, memory, (bus) => bus.room(story.id));
  return memory;
}

async function withBus<T>(identity: Identity, memory: ClientState, work: (bus: Bus) => Promise<T>): Promise<T> {
  await using bus = await Bus.connect({ urls: [way.url], identity, state: memory, lazy: true });
  return await work(bus);
}

beforeEach(async () => {
  state = await seen();
});

/**
 * Bob asks to follow what the server shows. The request must be refused, and the room that he trusts must not change.
 */
async function refused(shown: Shown, code: string, said: string): Promise<void> {
  const before = await state.room(story.id);
  show(shown);
  const asked = withBus(people.bob, state, (bus) => bus.recovery.older(story.id).then((older) => older.accept()));
  await expect(asked).rejects.toMatchObject({ code, message: expect.stringContaining(said) });
  expect(await state.room(story.id)).toEqual(before);
  show(versionOf(story));
  const version = await withBus(people.bob, state, async (bus) => (await bus.room(story.id)).state.state.version);
  expect(version).toBe(5);
}

test("the older chain of an honest server is followed, after listing the users who can read again", async () => {
  show(versionOf(story, 3));
  await withBus(people.bob, state, async (bus) => {
    await expect(bus.room(story.id)).rejects.toMatchObject({ code: "room_forked" });
    const older = await bus.recovery.older(story.id);
    expect([older.version, older.busVersion, older.common]).toEqual([5, 3, 3]);
    expect(older.readmitted.map(({ endpoint, as }) => [endpoint, as])).toEqual(
      expect.arrayContaining([
        [people.dan.endpoint, "reader"],
        [people.cleo.endpoint, "owner"],
      ]),
    );
    await older.accept();
  });
  await withBus(people.bob, state, async (bus) => {
    expect((await bus.room(story.id)).state.state.version).toBe(3);
  });
});

test("a member added in a chain that diverges from the known one is listed, too", async () => {
  const { cleo, eve } = people;
  // Cleo owned the room at version 3, and went on from there with a server that hides the rest.
  show(versionOf(story.at(3).add(cleo, eve)));
  await withBus(people.bob, state, async (bus) => {
    const older = await bus.recovery.older(story.id);
    expect([older.busVersion, older.common]).toEqual([4, 3]);
    expect(older.readmitted.find(({ endpoint }) => endpoint === eve.endpoint)?.as).toBe("new");
  });
  using folder = new Folder();
  const identity = folder.file("identity.json");
  writeFileSync(identity, identityText(people.bob), { mode: 0o600 });
  const env = { UNIBUS_URL: way.url, UNIBUS_IDENTITY: identity };
  show(versionOf(story));
  expect((await unibus(folder, ["room", "show", story.id], { env })).code).toBe(0);
  show(versionOf(story.at(3).add(cleo, eve)));
  const { code, stderr } = await unibus(folder, ["room", "trust", story.id, "--accept-older", "--yes"], { env });
  expect([code, stderr]).toEqual([0, expect.stringMatching(/in no version that you have seen.*\n.*/)]);
  expect(stderr.split("in no version that you have seen")[1]).toContain(eve.endpoint);
});

describe("another room under this room's id is refused", () => {
  test("a whole room made by someone else, shorter or longer", async () => {
    const { mallory, bob } = people;
    const forged = () => Story.of(mallory, policy("encrypt"), story.state.subject, story.id).add(mallory, bob);
    await refused(versionOf(forged()), "room_forked", "another room");
    const longer = forged();
    for (let i = 0; i < 6; i++) longer.role(mallory, bob, i % 2 === 0 ? "owner" : "member");
    // `show` takes the epoch from the real room, so the version must exist there.
    await refused(versionOf(longer, 5), "room_forked", "another room");
  });

  test("one that its own owner created a second time", async () => {
    const { ana, bob } = people;
    const twin = Story.of(ana, policy("encrypt"), story.state.subject, story.id).add(ana, bob);
    await refused(versionOf(twin), "room_forked", "another room");
  });

  test("by the command, too, which says so and changes nothing", async () => {
    using folder = new Folder();
    const { mallory, bob } = people;
    writeFileSync(folder.file("identity.json"), identityText(bob), { mode: 0o600 });
    const kept = openState({ folder: folder.file(".local", "state", "unibus", bob.endpoint), bus: way.url });
    await withBus(bob, kept, (bus) => bus.room(story.id));
    const pin = await kept.room(story.id);
    show(versionOf(Story.of(mallory, policy("encrypt"), story.state.subject, story.id).add(mallory, bob)));
    const args = [
      "room",
      "trust",
      story.id,
      "--accept-older",
      "--yes",
      "--url",
      way.url,
      "--identity",
      "identity.json",
    ];
    const done = await unibus(folder, args);
    expect([done.code, done.stdout]).toEqual([1, ""]);
    expect(done.stderr).toContain("the server returned another room: the first statement has changed");
    expect(await kept.room(story.id)).toEqual(pin);
  });
});

describe("an invalid chain is refused", () => {
  /** Forks the story: the first statements of the room, to be continued by another signer. */
  const parting = (from: number) => story.at(from);

  test("whose next version is signed by a member who was not an owner", async () => {
    const { mallory } = people;
    await refused(
      versionOf(parting(2).role(mallory, mallory, "owner")),
      "room_forked",
      "statement 3 is not signed by an owner",
    );
  });

  test("whose next version is signed by a later owner", async () => {
    const { cleo, mallory } = people;
    await refused(
      versionOf(parting(2).role(cleo, mallory, "owner")),
      "room_forked",
      "statement 3 is not signed by an owner",
    );
  });

  test("with a signature of another text", async () => {
    const { statements, members } = versionOf(story, 3);
    const sig = statements[1]?.sig ?? "";
    const forged = statements.map((one, at) => (at === 2 ? { ...one, sig } : one));
    await refused({ statements: forged, members }, "room_forked", "statement 3 is not signed by an owner");
  });

  test("that names another predecessor, or skips a version", async () => {
    const { ana, cleo } = people;
    const prev = "f".repeat(64);
    const cut = parting(2).next(ana, { kind: "role", endpoint: cleo.endpoint, role: "owner" }, (one) => ({
      ...one,
      prev,
    }));
    await refused(versionOf(cut), "room_forked", "statement 3 does not contain the hash of the previous");
    const whole = versionOf(story, 4);
    const gap = whole.statements.filter((_, at) => at !== 2);
    await refused({ statements: gap, members: story.members(3) }, "room_forked", "out of order");
  });

  test("with a reader whom its owners did not sign, or one with another user's key", async () => {
    const { statements, members } = versionOf(story, 3);
    const [one] = members;
    const stranger = { ...(one as (typeof members)[0]), endpoint: "A".repeat(43) };
    await refused({ statements, members: [...members, stranger] }, "room_forked", "member list");
    const unsigned = members.map((line) => ({ ...line, kex_sig: members[1]?.kex_sig ?? "" }));
    await refused({ statements, members: unsigned }, "room_forked", "member");
  });
});

describe("a chain that is not older is refused", () => {
  test("one that the client has seen already", async () => {
    await refused(versionOf(story), "conflict", "nothing to accept");
  });

  test("one that continues what the client has seen", async () => {
    const { ana, cleo } = people;
    const known = story.version;
    story.role(ana, cleo, "owner");
    show(versionOf(story));
    await withBus(people.bob, state, async (bus) => {
      await expect(bus.recovery.older(story.id)).rejects.toMatchObject({ code: "conflict" });
    });
    expect((await state.room(story.id))?.version).toBe(known);
  });

  test("one of a room that the client has never opened: there is nothing to compare it with", async () => {
    const asked = withBus(people.bob, new MemoryState(), (bus) => bus.recovery.older(story.id));
    await expect(asked).rejects.toMatchObject({ code: "not_found", message: expect.stringContaining("compare") });
  });
});
