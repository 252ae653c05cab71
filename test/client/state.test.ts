/**
 * The client state: newest room versions, pinned handles and notes, in memory and in files. Invariant: no process can
 * make the state forget or go back, even when several write at once. Damaged state is reported and left untouched.
 */
import { describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ClientState, MemoryState, type RoomPin } from "../../src/client/trust/state.ts";
import { openState } from "../../src/client/trust/state-node.ts";
import { sha256Hex } from "../../src/wire/encoding.ts";
import { hasCode } from "../../src/wire/errors.ts";
import { newUlid } from "../../src/wire/ulid.ts";
import { Folder } from "../support/executable.ts";

const ana = sha256Hex("ana");
const bob = sha256Hex("bob");
const pin = (version: number, more: Partial<RoomPin> = {}): RoomPin => ({
  ...{ version, hash: sha256Hex(`text ${version}`), epoch: 1, owners: [ana], firstOwners: [ana] },
  ...more,
});

/** The error of a use. */
async function failureOf(use: () => Promise<unknown>): Promise<unknown> {
  try {
    await use();
  } catch (error) {
    return error;
  }
  throw new Error("it did not fail");
}

const kinds: readonly (readonly [string, (folder: Folder) => ClientState])[] = [
  ["in memory", () => new MemoryState()],
  ["in files", ({ path }) => openState({ folder: join(path, "state"), bus: "https://bus.example.org" })],
];

describe.each(kinds)("a state %s", (_, open) => {
  test("returns the newest version of a room, and its first one", async () => {
    using folder = new Folder();
    const state = open(folder);
    const [room, other] = [newUlid(), newUlid()];
    expect(await state.room(room)).toBeNull();
    expect(await state.saveRoom(room, pin(3))).toEqual(pin(3));
    const later = pin(12, { owners: [bob], firstOwners: [bob], epoch: 4 });
    expect(await state.saveRoom(room, later)).toEqual({ ...later, firstOwners: [ana] });
    expect(await state.saveRoom(room, pin(9))).toEqual({ ...later, firstOwners: [ana] });
    expect(await state.saveRoom(room, later)).toEqual({ ...later, firstOwners: [ana] });
    expect(await state.room(room)).toEqual({ ...later, firstOwners: [ana] });
    expect(await state.room(other)).toBeNull();
  });

  test("rejects a second text for a version", async () => {
    using folder = new Folder();
    const state = open(folder);
    const room = newUlid();
    await state.saveRoom(room, pin(3));
    const error = await failureOf(() => state.saveRoom(room, pin(3, { hash: sha256Hex("no") })));
    expect(hasCode(error, "room_forked")).toBe(true);
    expect(await state.room(room)).toEqual(pin(3));
  });

  test("keeps the first endpoint of a handle until another one is approved", async () => {
    using folder = new Folder();
    const state = open(folder);
    for (const handle of ["ana", "../../etc/passwd", "", "Ana", "ä\n"]) {
      expect(await state.handle(handle)).toBeNull();
      expect(await state.pinHandle(handle, `one ${handle}`)).toBe(`one ${handle}`);
      expect(await state.pinHandle(handle, "two")).toBe(`one ${handle}`);
      await state.repinHandle(handle, "three");
      expect([await state.handle(handle), await state.pinHandle(handle, "four")]).toEqual(["three", "three"]);
    }
  });
});

describe.each(kinds)("a state %s, besides the pins", (_, open) => {
  test("lists the pinned handles", async () => {
    using folder = new Folder();
    const state = open(folder);
    expect(await state.handles()).toEqual([]);
    await state.pinHandle("ana", "one");
    await state.pinHandle("\u0430na/..", "two");
    await state.repinHandle("ana", "three");
    const pins = await state.handles();
    expect(pins.sort((a, b) => (a.endpoint < b.endpoint ? -1 : 1))).toEqual([
      { handle: "ana", endpoint: "three" },
      { handle: "\u0430na/..", endpoint: "two" },
    ]);
  });

  test("keeps one note of a room under each name, and replaces it as a whole", async () => {
    using folder = new Folder();
    const state = open(folder);
    const room = newUlid();
    expect(await state.note(room, "claims")).toBeNull();
    await state.saveNote(room, "claims", { claims: [1, 2] });
    await state.saveNote(room, "identity", { fingerprint: "x" });
    await state.saveNote(room, "claims", { claims: [] });
    expect(await state.note(room, "claims")).toEqual({ claims: [] });
    expect(await state.note(room, "identity")).toEqual({ fingerprint: "x" });
    expect(await state.note(newUlid(), "claims")).toBeNull();
    // The bytes are not a version of the room.
    expect(await state.room(room)).toBeNull();
    await state.saveRoom(room, pin(3));
    await state.saveRoom(room, pin(4));
    expect(await state.note(room, "identity")).toEqual({ fingerprint: "x" });
  });
});

describe("a state in files", () => {
  const open = (folder: Folder, bus = "https://bus.example.org") => openState({ folder: folder.file("state"), bus });
  const roomFolder = (folder: Folder, room: string) => folder.file("state", "rooms", room);

  test("is readable by its owner only, with one file for a room and none before the first save", async () => {
    using folder = new Folder();
    const room = newUlid();
    const state = open(folder);
    await Promise.all([state.room(room), state.handle("ana")]);
    expect(readdirSync(folder.path)).toEqual([]);
    for (const version of [1, 2, 10]) await state.saveRoom(room, pin(version));
    await state.pinHandle("ana", "x");
    expect(readdirSync(roomFolder(folder, room))).toEqual(["10.json"]);
    for (const path of ["", "rooms", `rooms/${room}`, "handles"]) {
      expect([path, statSync(folder.file("state", path)).mode & 0o777]).toEqual([path, 0o700]);
    }
    const files = [join(roomFolder(folder, room), "10.json"), folder.file("state/handles", handleFile(folder))];
    for (const file of files) expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  const handleFile = (folder: Folder) => readdirSync(folder.file("state", "handles"))[0] ?? "";

  test("recognizes a room under any server address, and a handle under its own only", async () => {
    using folder = new Folder();
    const room = newUlid();
    const [one, two] = [open(folder, "https://one.example.org"), open(folder, "https://two.example.org")];
    await one.saveRoom(room, pin(2));
    await one.pinHandle("ana", "one");
    expect([await two.room(room), await two.handle("ana")]).toEqual([pin(2), null]);
    expect([await two.pinHandle("ana", "two"), await one.handle("ana")]).toEqual(["two", "one"]);
    expect(await one.handles()).toEqual([{ handle: "ana", endpoint: "one" }]);
  });

  test("reports damage, and leaves the damaged file unchanged", async () => {
    for (const text of ["", "{", "null", "[]", JSON.stringify(pin(4)), JSON.stringify({ ...pin(5), owners: [] })]) {
      using folder = new Folder();
      const room = newUlid();
      const state = open(folder);
      await state.saveRoom(room, pin(5));
      await state.pinHandle("ana", "x");
      const file = join(roomFolder(folder, room), "5.json");
      const handles = folder.file("state", "handles", handleFile(folder));
      writeFileSync(file, text);
      writeFileSync(handles, text);
      const uses = [
        () => state.room(room),
        () => state.saveRoom(room, pin(6)),
        () => state.handle("ana"),
        () => state.pinHandle("ana", "y"),
      ];
      for (const use of uses) {
        const error = await failureOf(use);
        expect([text, hasCode(error, "invalid") && error.message]).toEqual([text, expect.stringContaining("damaged")]);
      }
      expect([readFileSync(file, "utf8"), readFileSync(handles, "utf8")]).toEqual([text, text]);
    }
  });

  test("reports when a file is in the way of its folder", async () => {
    using folder = new Folder();
    writeFileSync(folder.file("state"), "");
    const state = open(folder);
    for (const use of [
      () => state.room(newUlid()),
      () => state.saveRoom(newUlid(), pin(1)),
      () => state.pinHandle("ana", "x"),
    ]) {
      const error = await failureOf(use);
      expect(hasCode(error, "unavailable")).toBe(true);
    }
  });

  test("rejects a path as a room id", async () => {
    using folder = new Folder();
    const error = await failureOf(() => open(folder).saveRoom("../x", pin(1)));
    expect(hasCode(error, "invalid")).toBe(true);
    expect(readdirSync(folder.path)).toEqual([]);
  });

  test("never goes back, under concurrent writes", async () => {
    using folder = new Folder();
    const room = newUlid();
    const seen: number[] = [];
    const script = `
      const { openState } = await import(${JSON.stringify(join(import.meta.dir, "../../src/client/trust/state-node.ts"))});
      const state = openState({ folder: ${JSON.stringify(folder.file("state"))}, bus: "b" });
      const pins = ${JSON.stringify(Array.from({ length: 60 }, (_, i) => pin(i + 1)))};
      for (const pin of pins.sort(() => Math.random() - 0.5)) {
        const kept = await state.saveRoom(${JSON.stringify(room)}, pin);
        if (kept.version < pin.version) throw new Error("it went back");
      }
    `;
    const children = [1, 2, 3].map(() =>
      Bun.spawn([process.execPath, "-e", script], { stdout: "inherit", stderr: "inherit" }),
    );
    let running = true;
    const done = Promise.all(children.map(({ exited }) => exited)).finally(() => {
      running = false;
    });
    const watcher = open(folder);
    while (running) {
      seen.push((await watcher.room(room))?.version ?? 0);
      await Bun.sleep(1);
    }
    expect(await done).toEqual([0, 0, 0]);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(await watcher.room(room)).toEqual(pin(60));
    expect(readdirSync(roomFolder(folder, room))).toEqual(["60.json"]);
  }, 30_000);

  test("when two processes save different texts of one version, one gets an error", async () => {
    using folder = new Folder();
    const room = newUlid();
    const saves = ["one", "two"].map((text) => open(folder).saveRoom(room, pin(7, { hash: sha256Hex(text) })));
    const results = await Promise.allSettled(saves);
    expect(results.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    const lost = results.find((result) => result.status === "rejected");
    expect(hasCode(lost?.reason, "room_forked")).toBe(true);
  });

  test("is not misled by other files in a room's folder", async () => {
    using folder = new Folder();
    const room = newUlid();
    mkdirSync(roomFolder(folder, room), { recursive: true });
    for (const name of ["99.json.bak", ".5c2d", "x.json", "007.json"]) {
      writeFileSync(join(roomFolder(folder, room), name), "{");
    }
    const state = open(folder);
    expect(await state.room(room)).toBeNull();
    expect(await state.saveRoom(room, pin(2))).toEqual(pin(2));
  });
});
