/**
 * Conversations on the command line: edit, delete, react, pin, title, dm and parts of the history, each as its users
 * see it. Each peer is a process of its own.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { connect } from "../../src/client/index.ts";
import { newUlid } from "../../src/wire/ulid.ts";
import { CliPeer, jsonLines } from "../support/cli-peer.ts";
import { Server } from "../support/executable.ts";
import { addUser } from "../support/peer.ts";

/** Timeout of each test, generous for a busy machine, in milliseconds. */
const patienceMs = 60_000;

let server: Server;
let admin: Identity;
let ana: CliPeer;
let bob: CliPeer;

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=100000"] });
  admin = await addUser(server, "root", { admin: true });
  ana = await CliPeer.join(server, admin, "ana");
  bob = await CliPeer.join(server, admin, "bob");
}, patienceMs);
afterAll(async () => {
  ana[Symbol.dispose]();
  bob[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
});

const sent = async (peer: CliPeer, subject: string, text: string, ...options: string[]): Promise<string> =>
  (await peer.ok(["send", subject, text, ...options])).trim();

/** The lines of a history without their times. */
const linesOf = async (peer: CliPeer, subject: string, ...options: string[]): Promise<string[]> =>
  (await peer.ok(["history", subject, ...options]))
    .trim()
    .split("\n")
    .map((line) => line.replace(/^\S+ \S+ {2}/, ""));

const textsOf = (lines: string): unknown[] => jsonLines(lines).map(({ text }) => text);

describe("a message is changed", () => {
  test(
    "by edit, react, react --remove and delete, and a history says so",
    async () => {
      const subject = await ana.room([bob]);
      const id = await sent(ana, subject, "the tests are green");
      await ana.ok(["edit", subject, id, "the tests are red"]);
      await bob.ok(["react", subject, id, "👍"]);
      await bob.ok(["react", subject, id, "👍", "--remove"]);
      await bob.ok(["send", subject, "why?", "--reply-to", id]);
      const edit = (await ana.ok(["edit", subject, id, "-"], "from stdin")).trim();
      expect(edit).toMatch(/^[0-9A-Z]{26}$/);
      expect(await linesOf(ana, subject)).toEqual([
        "ana  the tests are green",
        'ana  * edited "the tests are green": the tests are red',
        'bob  👍 to ana "the tests are red"',
        'bob  * took back 👍 from ana "the tests are red"',
        'bob  (to ana "the tests are red") why?',
        'ana  * edited "the tests are red": from stdin',
      ]);
      const done = "asked everyone to remove it; erased it and its 2 edits on the server\n";
      expect(await ana.ok(["delete", subject, id])).toBe(done);
      const [first, ...others] = await linesOf(bob, subject);
      expect(first).toBe(`bob  👍 to …${id.slice(-6)}`);
      expect(others.slice(-3)).toEqual([
        `ana  * deleted …${id.slice(-6)}`,
        ...[0, 0].map(() => expect.stringMatching(/^ana {2}\* deleted …/)),
      ]);
      expect(others.join("\n")).not.toContain("stdin");
      expect(await bob.ok(["history", subject, "--verify"])).toContain(`${subject}: whole`);
      const again = await sent(ana, subject, "one more");
      expect(JSON.parse(await ana.ok(["delete", subject, again, "--json"]))).toEqual({
        ...{ id: expect.any(String), seq: expect.any(Number), deleted: again, edits: 0, erased: true },
      });
    },
    patienceMs,
  );

  test(
    "only by its sender; deleted also by an owner",
    async () => {
      const subject = await ana.room([bob]);
      const [hers, his] = [await sent(ana, subject, "of ana"), await sent(bob, subject, "of bob")];
      const edit = await ana.failure(["edit", subject, his, "hijacked"]);
      expect(edit).toMatchObject({ exit: 1, code: "forbidden" });
      expect(edit.error).toBe(
        `message ${his} was sent by bob (${bob.identity.endpoint}) (edit only your own messages)`,
      );
      expect(await bob.failure(["delete", subject, hers])).toMatchObject({ exit: 1, code: "forbidden" });
      await ana.ok(["delete", subject, his]);
      expect(await linesOf(bob, subject)).toEqual(["ana  of ana", `ana  * deleted …${his.slice(-6)}`]);
      // A client of another make says it anyway.
      await using bus = await connect({ url: server.ready.http, identity: bob.identity, state: "memory" });
      const room = await bus.room(subject);
      const posed = { id: hers, thread: null, from: bob.identity.endpoint };
      await room.edit(posed, "hijacked");
      await room.react({ id: hers, thread: null }, "👎");
      const tail = (await linesOf(bob, subject)).slice(-2);
      expect(tail).toEqual([
        'bob  * tried to edit ana "of ana", which is not theirs: ignored',
        'bob  👎 to ana "of ana"',
      ]);
    },
    patienceMs,
  );

  test(
    "unless it is not stored, has no text, or its room keeps nothing",
    async () => {
      const subject = await ana.room([bob]);
      const id = await sent(ana, subject, "hello");
      const unknown = newUlid(Date.now());
      for (const args of [
        ["edit", subject, unknown, "x"],
        ["delete", subject, unknown],
        ["react", subject, unknown, "👍"],
      ])
        expect(await ana.failure(args)).toMatchObject({ exit: 1, code: "not_found" });
      const reaction = (await ana.ok(["react", subject, id, "+1"])).trim();
      expect(await ana.failure(["edit", subject, reaction, "x"])).toMatchObject({ exit: 1, code: "invalid" });
      expect(await ana.failure(["edit", subject, "x", "y"])).toMatchObject({ exit: 2, code: "invalid" });
      expect(await ana.failure(["edit", subject, id, ""])).toMatchObject({ exit: 2, code: "invalid" });
      expect(await ana.failure(["react", subject, id, "not one"])).toMatchObject({ exit: 2, code: "invalid" });
      const live = await ana.room([bob], { mode: "nats" });
      for (const args of [
        ["edit", live, id, "x"],
        ["delete", live, id],
        ["react", live, id, "👍"],
        ["pin", live],
        ["title", live],
      ]) {
        const { exit, code, error } = await ana.failure(args);
        expect([args[0], exit, code, error]).toEqual([
          args[0],
          1,
          "conflict",
          expect.stringContaining("keeps no messages"),
        ]);
      }
    },
    patienceMs,
  );
});

describe("a room has", () => {
  test(
    "a title, which owners set",
    async () => {
      const subject = await ana.room([bob]);
      expect(await ana.run(["title", subject])).toMatchObject({ code: 0, stdout: "" });
      expect(JSON.parse(await bob.ok(["title", subject, "--json"]))).toMatchObject({ subject, title: null });
      await ana.ok(["title", subject, "The team"]);
      expect(await bob.ok(["title", subject])).toBe("The team\n");
      const { endpoint: by } = ana.identity;
      const title = { room_id: expect.any(String), subject, title: "The team", by, handle: "ana", verified: true };
      expect(JSON.parse(await bob.ok(["title", subject, "--json"]))).toEqual(title);
      expect(await bob.failure(["title", subject, "His"])).toMatchObject({
        ...{ exit: 1, code: "forbidden", error: expect.stringContaining("ask an owner: ana") },
      });
      expect(await ana.failure(["title", subject, "x".repeat(101)])).toMatchObject({ exit: 2, code: "invalid" });
    },
    patienceMs,
  );

  test(
    "pinned messages, which owners add, remove and clear",
    async () => {
      const subject = await ana.room([bob]);
      const [one, two] = [await sent(ana, subject, "rule one"), await sent(bob, subject, "rule two")];
      await ana.ok(["pin", subject, one]);
      await ana.ok(["pin", subject, two, one]);
      await ana.ok(["edit", subject, one, "rule 1"]);
      const lines = (await bob.ok(["pin", subject])).trim().split("\n");
      expect(lines).toEqual([
        expect.stringMatching(new RegExp(`^${one}  .+  ana  rule 1 \\(edited\\)$`)),
        expect.stringMatching(new RegExp(`^${two}  .+  bob  rule two$`)),
      ]);
      await ana.ok(["pin", subject, one, "--remove"]);
      expect(jsonLines(await bob.ok(["pin", subject, "--json"]))).toMatchObject([{ id: two, text: "rule two" }]);
      await bob.ok(["delete", subject, two]);
      expect(await ana.ok(["pin", subject])).toBe(`${two}  (deleted)\n`);
      await ana.ok(["pin", subject, "--clear"]);
      expect(await bob.ok(["pin", subject])).toBe("");
      expect(await bob.failure(["pin", subject, one])).toMatchObject({ exit: 1, code: "forbidden" });
      expect(await ana.failure(["pin", subject, two])).toMatchObject({ exit: 1, code: "not_found" });
      for (const wrong of [["--remove"], [one, "--clear"], [one, "--remove", "--clear"], ["x"]])
        expect(await ana.failure(["pin", subject, ...wrong])).toMatchObject({ exit: 2, code: "invalid" });
    },
    patienceMs,
  );

  test(
    "two members if it is direct: dm finds it again by handle, sign_pub and endpoint, from both sides",
    async () => {
      const room = (await ana.ok(["dm", "bob"])).trim();
      expect(room).toMatch(/^[0-9A-Z]{26}$/);
      const told = JSON.parse(await ana.ok(["dm", bob.identity.signPubHex, "hello", "--json"]));
      const withBob = { handle: "bob", endpoint: bob.identity.endpoint };
      expect(told).toEqual({
        ...{ room_id: room, subject: expect.stringMatching(/^room\.dm-/), with: withBob },
        ...{ id: expect.any(String), seq: 1 },
      });
      await bob.ok(["room", "accept", room]);
      const [found, id] = (await bob.ok(["dm", "--", ana.identity.endpoint, "-"], "hi ana")).trim().split("\n");
      expect([found, id]).toEqual([room, expect.stringMatching(/^[0-9A-Z]{26}$/)]);
      expect(textsOf(await ana.ok(["history", room, "--json"]))).toEqual(["hello", "hi ana"]);
      expect(await ana.ok(["rooms"])).toContain(`direct with bob (${bob.identity.endpoint})`);
      expect(JSON.parse(await ana.ok(["rooms", "--json"])).rooms).toContainEqual(
        expect.objectContaining({ room_id: room, direct: withBob }),
      );
      expect(await ana.failure(["dm", "nobody"])).toMatchObject({ exit: 1, code: "not_found" });
      expect(await ana.failure(["dm", "ana"])).toMatchObject({ exit: 1, code: "invalid" });
    },
    patienceMs,
  );
});

describe("a part of the history", () => {
  test(
    "is what is before a message, after it, or since a time, up to a limit; wrong combinations exit with 2",
    async () => {
      const subject = await ana.room([bob]);
      const words = ["a", "b", "c", "d", "e"];
      const lines = await ana.ok(["send", subject, "--lines", "--json"], words.join("\n"));
      const [, b = "", , d = ""] = jsonLines(lines).map(({ id }) => String(id));
      const texts = async (...options: string[]) => textsOf(await bob.ok(["history", subject, "--json", ...options]));
      expect(await texts("--before", d)).toEqual(["a", "b", "c"]);
      expect(await texts("--before", d, "--limit", "2")).toEqual(["b", "c"]);
      expect(await texts("--after", b)).toEqual(["c", "d", "e"]);
      expect(await texts("--after", b, "--limit", "1")).toEqual(["c"]);
      expect(await texts("--since", "1h", "--limit", "2")).toEqual(["a", "b"]);
      expect(await texts("--since", new Date(Date.now() + 3_600_000).toISOString())).toEqual([]);
      const later = { exit: 1, code: "not_found" };
      expect(await bob.failure(["history", subject, "--after", newUlid(Date.now())])).toMatchObject(later);
      for (const wrong of [
        ...[
          ["--before", d, "--after", b],
          ["--after", b, "--since", "1h"],
          ["--before", d, "--since", "1h"],
        ],
        ...[
          ["--raw", "--after", b],
          ["--verify", "--since", "1h"],
          ["--since", "yesterday"],
          ["--before", "x"],
        ],
      ])
        expect(await bob.failure(["history", subject, ...wrong])).toMatchObject({ exit: 2, code: "invalid" });
      await using tail = bob.start(["tail", subject, "--since", "2h", "--json"]);
      await tail.until("it prints what is stored", (all) => all.length === words.length);
      expect(textsOf(tail.stdout)).toEqual(words);
    },
    patienceMs,
  );
});
