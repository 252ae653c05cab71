/**
 * A server restored from an older backup: owners give back the versions it lost, members who were removed since the
 * backup stay out, and rooms that continued differently (contested) need a choice by an admin and by each member.
 * Source: docs/protocol/rooms.md.
 */
import { describe, expect, test } from "bun:test";
import { copyFileSync, writeFileSync } from "node:fs";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { identityText } from "../../src/client/crypto/identity.ts";
import { type Bus, connect, type Room } from "../../src/client/index.ts";
import { Folder, Server, unibus } from "../support/executable.ts";
import { addUser, call, postUser } from "../support/peer.ts";

const keyValue = ["--flag", "decentralized=on"];
const names = ["admin", "ana", "bob", "cleo", "dan", "eve"] as const;
type Cast = Readonly<Record<(typeof names)[number], Person>>;

/** A person with an identity file and a client state in a folder of their own. */
class Person implements Disposable {
  readonly folder = new Folder();

  constructor(
    readonly name: string,
    readonly identity: Identity,
  ) {
    writeFileSync(this.folder.file("identity.json"), identityText(identity), { mode: 0o600 });
  }

  /** Connects as an application does, with the state that the commands use. */
  connect(server: Server): Promise<Bus> {
    const state = this.folder.file(".local", "state", "unibus", this.identity.endpoint);
    return connect({ url: server.ready.http, identity: this.identity, state });
  }

  /** Runs a command and expects the exit code `code`. */
  async unibus(server: Server, args: readonly string[], code = 0) {
    const peer = ["--url", server.ready.http, "--identity", this.folder.file("identity.json")];
    const done = await unibus(this.folder, [...args, ...peer]);
    expect([args, done.code, done.stderr]).toEqual([args, code, expect.any(String)]);
    return done;
  }

  [Symbol.dispose](): void {
    this.folder[Symbol.dispose]();
  }
}

/** Opens a room, runs `work`, and closes. */
async function inRoom<T>(person: Person, server: Server, name: string, work: (room: Room, bus: Bus) => Promise<T>) {
  await using bus = await person.connect(server);
  return await work(await bus.room(name), bus);
}

const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "done",
    (error: { code?: string }) => error.code ?? String(error),
  );

const lastText = async (room: Room): Promise<string | undefined> =>
  (await room.history({ limit: 5 })).messages.at(-1)?.text;

describe.each([
  ["sqlite", []],
  ["kv", keyValue],
] as const)("with the store %s", (_, flags) => {
  test("a whole story: backup, changes, restore, repair, and every user has the correct rooms again", async () => {
    using folder = new Folder();
    const start = (dir: Folder) => Server.start({ folder: dir, args: [...flags] });
    const people: Person[] = [];
    const subject = "room.team";
    let roomId = "";
    {
      await using server = await start(folder);
      const ana = await addUser(server, "ana", { admin: true });
      for (const name of ["ana", "bob", "cleo", "dan", "eve"]) {
        people.push(new Person(name, name === "ana" ? ana : await postUser(server, ana, name)));
      }
      const [owner, bob, cleo, dan, eve] = people as [Person, Person, Person, Person, Person];
      await inRoomNew(owner, server, subject, async (room) => {
        roomId = room.id;
        await room.membership.add(["bob", "cleo", "dan"]);
        await room.send("before");
      });
      expect(await inRoom(bob, server, subject, lastText)).toBe("before");
      expect(await inRoom(cleo, server, subject, lastText)).toBe("before");
      expect((await unibus(folder, ["backup", "--data", "data", "--out", "b.jsonl"])).code).toBe(0);

      await inRoom(owner, server, subject, async (room) => {
        await room.membership.kick("cleo");
        await room.membership.add("eve");
        await room.membership.setRole("bob", "owner");
        await room.send("after");
      });
      await inRoom(bob, server, subject, async (room) => {
        expect(await lastText(room)).toBe("after");
        await room.membership.rekey();
        await room.send("last");
      });
      await inRoom(eve, server, subject, lastText);
      // The owner learns the newest version only by reading, without having changed anything.
      expect(await inRoom(owner, server, subject, lastText)).toBe("last");
      await inRoom(dan, server, subject, (room) => room.leave());
      expect((await call(server.ready.http, ana, "POST", `/users/${eve.identity.signPubHex}/revoke`)).status).toBe(204);
      await inRoom(owner, server, subject, async (room) => {
        await room.membership.rekey();
        await room.send("newest");
      });
      await inRoom(bob, server, subject, lastText);
    }

    using other = new Folder();
    copyFileSync(folder.file("b.jsonl"), other.file("b.jsonl"));
    copyFileSync(folder.file("data", "denials"), other.file("denials"));
    const restored = await unibus(other, [
      "restore",
      "--data",
      "data",
      "b.jsonl",
      "--denials",
      "denials",
      "--yes",
      ...flags,
    ]);
    expect([restored.code, restored.stderr]).toEqual([0, expect.stringContaining("unibus room repair")]);
    await using server = await start(other);
    const [owner, bob, cleo, dan, eve] = people as [Person, Person, Person, Person, Person];
    for (const one of [owner, bob]) expect(await codeOf(inRoom(one, server, subject, lastText))).toBe("room_forked");
    // A member removed after the backup is a member again in the older version, until the room is repaired.
    expect(await codeOf(inRoom(cleo, server, subject, lastText))).toBe("done");
    expect(await codeOf(inRoom(dan, server, subject, lastText))).toBe("not_found");
    expect(await codeOf(eve.connect(server).then((bus) => bus.rooms()))).toBe("unauthenticated");

    expect((await cleo.unibus(server, ["room", "repair", subject, "--yes"], 1)).stderr).toContain(
      "you are not an owner",
    );
    const unasked = await owner.unibus(server, ["room", "repair", subject], 1);
    expect(unasked.stderr).toMatch(/room\.team: you have seen version \d+; the server shows version 2\./);
    expect(unasked.stderr).toContain("the highest version that any owner has seen?");
    const repaired = await owner.unibus(server, ["room", "repair", subject, "--yes"]);
    expect(repaired.stderr).toMatch(/room\.team is at version \d+ on the server again/);
    expect((await owner.unibus(server, ["room", "repair", subject, "--yes"])).code).toBe(0);

    await inRoom(owner, server, subject, async (room) => {
      const present = new Map(room.members.map(({ handle, left }) => [handle, left]));
      expect([present.get("ana"), present.get("bob"), present.has("cleo"), present.has("dan")]).toEqual([
        false,
        false,
        false,
        false,
      ]);
      await room.send("again");
    });
    expect(await inRoom(bob, server, roomId, lastText)).toBe("again");
    await inRoom(bob, server, subject, (room) => room.send("me, too"));
    expect(await inRoom(owner, server, subject, lastText)).toBe("me, too");
    for (const [who, code] of [
      [cleo, "forbidden"],
      [dan, "forbidden"],
    ] as const) {
      expect([who.name, await codeOf(inRoom(who, server, roomId, lastText))]).toEqual([who.name, code]);
    }
    for (const one of people) one[Symbol.dispose]();
  }, 120_000);
});

/** Like `inRoom`, in a newly created room. */
async function inRoomNew(person: Person, server: Server, subject: string, work: (room: Room) => Promise<void>) {
  await using bus = await person.connect(server);
  await work(await bus.createRoom(subject, "matrix"));
}

describe("a room that a restored server has lost", () => {
  /** Sets up a server with the people of a test; `during` takes the backup. */
  async function restored(
    before: (cast: Cast, server: Server) => Promise<void>,
    after: (cast: Cast, server: Server) => Promise<void>,
  ) {
    const folder = new Folder();
    const cast = {} as Record<(typeof names)[number], Person>;
    {
      await using server = await Server.start({ folder });
      const admin = await addUser(server, "admin", { admin: true });
      cast.admin = new Person("admin", admin);
      for (const name of names)
        if (name !== "admin") cast[name] = new Person(name, await postUser(server, admin, name));
      await before(cast, server);
      expect((await unibus(folder, ["backup", "--data", "data", "--out", "b.jsonl"])).code).toBe(0);
      await after(cast, server);
    }
    const other = new Folder();
    copyFileSync(folder.file("b.jsonl"), other.file("b.jsonl"));
    writeFileSync(other.file("none"), "");
    const done = await unibus(other, ["restore", "--data", "data", "b.jsonl", "--denials", "none", "--yes"]);
    expect(done).toMatchObject({ code: 0 });
    const server = await Server.start({ folder: other });
    const dispose = async () => {
      await server[Symbol.asyncDispose]();
      for (const one of [folder, other, ...Object.values(cast)]) one[Symbol.dispose]();
    };
    return { server, cast, folder: other, [Symbol.asyncDispose]: dispose };
  }

  test("is restored if it was created since, and also if its first owner is no longer an owner", async () => {
    const subjects = ["room.new", "room.handed"];
    await using scene = await restored(
      ({ ana }, server) => inRoomNew(ana, server, "room.handed", async () => undefined),
      async ({ ana, bob }, server) => {
        await inRoomNew(ana, server, "room.new", async (room) => room.membership.add("bob"));
        for (const subject of subjects) {
          await inRoom(ana, server, subject, async (room) => {
            if (subject === "room.handed") await room.membership.add("bob");
            await room.membership.setRole("bob", "owner");
            await room.membership.rekey();
          });
          await inRoom(bob, server, subject, async (room) => {
            await room.membership.setRole("ana", "member");
            await room.membership.rekey();
            await room.send("said");
          });
          await inRoom(ana, server, subject, lastText);
        }
      },
    );
    const { server, cast } = scene;
    expect(await codeOf(inRoom(cast.bob, server, "room.new", lastText))).toBe("not_found");
    // Bob was not a member at the server's version, so the server cannot tell him which version it has.
    const handed = await cast.bob.unibus(server, ["room", "repair", "room.handed", "--yes"]);
    expect(handed.stderr).toContain("the server has it at a version in which you were not a member");
    const made = await cast.bob.unibus(server, ["room", "repair", "room.new", "--yes"]);
    expect(made.stderr).toContain("the server does not know it");
    for (const subject of subjects) {
      await inRoom(cast.bob, server, subject, (room) => room.send("again"));
      expect(await inRoom(cast.ana, server, subject, lastText)).toBe("again");
      await inRoom(cast.ana, server, subject, (room) => room.send("me, too"));
      expect(await inRoom(cast.bob, server, subject, lastText)).toBe("me, too");
    }
  }, 120_000);

  test("is contested if an owner continued differently; an admin chooses one chain, and members follow by their own choice", async () => {
    const subject = "room.team";
    let roomId = "";
    await using scene = await restored(
      ({ ana }, server) =>
        inRoomNew(ana, server, subject, async (room) => {
          roomId = room.id;
          await room.membership.add(["bob", "cleo", "dan"]);
          await room.membership.setRole("bob", "owner");
        }),
      async ({ ana, bob, cleo }, server) => {
        for (const one of [bob, cleo]) await inRoom(one, server, subject, lastText);
        await inRoom(ana, server, subject, async (room) => room.membership.kick("dan"));
        await inRoom(ana, server, subject, (room) => room.send("without dan"));
      },
    );
    const { server, cast, folder } = scene;
    const { ana, bob, cleo, dan, admin } = cast;
    // Bob and cleo have not seen that dan was removed: to them the server looks unchanged, and bob continues.
    await inRoom(bob, server, subject, async (room) => room.membership.add("eve"));
    await inRoom(cleo, server, subject, lastText);
    const contested = await ana.unibus(server, ["room", "repair", subject, "--yes"], 1);
    expect(contested.stderr).toContain("The room was changed differently since the restore");
    expect(contested.stderr).toMatch(/ask an admin to choose: unibus way-back take [0-9A-Z]{26} HASH/);
    const status = await unibus(folder, ["way-back", "status", "--data", "data", "--json"]);
    const [chain] = (JSON.parse(status.stdout) as { contested: { hash: string; by: string; bus_version: number }[] })
      .contested;
    expect(chain).toMatchObject({ by: ana.identity.signPubHex, bus_version: 4, taken: false });
    const hash = chain?.hash ?? "";
    expect((await bob.unibus(server, ["way-back", "take", roomId, hash], 1)).stderr).toContain("for admins");
    await admin.unibus(server, ["way-back", "take", roomId, hash]);
    await ana.unibus(server, ["room", "repair", subject, "--yes"]);
    await inRoom(ana, server, subject, (room) => room.send("as it was"));
    for (const one of [dan, cast.eve]) expect(await codeOf(inRoom(one, server, roomId, lastText))).toBe("forbidden");

    // Bob and cleo followed the other chain, so each must decide.
    expect(await codeOf(inRoom(cleo, server, subject, lastText))).toBe("room_forked");
    expect((await cleo.unibus(server, ["room", "trust", subject], 1)).stderr).toContain("--accept-older");
    const unasked = await cleo.unibus(server, ["room", "trust", subject, "--accept-older"], 1);
    expect(unasked.stderr).toContain("which differs from what you have seen after version 3");
    expect(await codeOf(inRoom(cleo, server, subject, lastText))).toBe("room_forked");
    await cleo.unibus(server, ["room", "trust", subject, "--accept-older", "--yes"]);
    expect(await inRoom(cleo, server, subject, lastText)).toBe("as it was");
    await bob.unibus(server, ["room", "trust", subject, "--accept-older", "--yes"]);
    await inRoom(bob, server, subject, (room) => room.membership.rekey());
    await inRoom(bob, server, subject, (room) => room.send("and on"));
    for (const one of [ana, cleo]) expect(await inRoom(one, server, subject, lastText)).toBe("and on");
    expect((await cleo.unibus(server, ["room", "trust", subject, "--accept-older"], 1)).stderr).toContain(
      "nothing to accept",
    );
  }, 120_000);

  test("can be given up by a member if no owner has it, after a list of the users who become readers again", async () => {
    const subject = "room.team";
    await using scene = await restored(
      ({ ana }, server) => inRoomNew(ana, server, subject, async (room) => room.membership.add(["bob", "cleo", "dan"])),
      async ({ ana, bob }, server) => {
        await inRoom(ana, server, subject, async (room) => {
          await room.membership.setRole("bob", "owner");
          await room.membership.kick("dan");
        });
        await inRoom(bob, server, subject, async (room) => room.membership.setRole("ana", "member"));
        for (const one of [ana, bob]) await inRoom(one, server, subject, lastText);
      },
    );
    const { server, cast } = scene;
    const { ana, bob, cleo, dan } = cast;
    const shown = await bob.unibus(server, ["room", "trust", subject, "--accept-older"], 1);
    const { endpoint } = dan.identity;
    expect(shown.stderr).toContain(`These former members become readers again:\n  ${endpoint}  dan\n`);
    expect(shown.stderr).toContain(`These former owners become owners again:\n  ${ana.identity.endpoint}  ana\n`);
    expect(await codeOf(inRoom(bob, server, subject, lastText))).toBe("room_forked");
    for (const one of [ana, bob]) await one.unibus(server, ["room", "trust", subject, "--accept-older", "--yes"]);
    await inRoom(ana, server, subject, (room) => room.send("from here on"));
    for (const one of [bob, cleo, dan]) expect(await inRoom(one, server, subject, lastText)).toBe("from here on");
    // The older chain is now the known one: the room may not go back another time.
    await inRoom(ana, server, subject, async (room) => room.membership.kick("dan"));
    expect(await codeOf(inRoom(dan, server, subject, lastText))).toBe("not_found");
  }, 120_000);
});
