/**
 * Conversations on the command line: edit, delete, react, pin, title, dm, parts of the history, and `wait`, each as its
 * users see it. Each peer is a process of its own.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { closeSync, constants, openSync, read, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { connect } from "../../src/client/index.ts";
import { newUlid } from "../../src/wire/ulid.ts";
import { CliPeer, jsonLines } from "../support/cli-peer.ts";
import { executable, Server } from "../support/executable.ts";
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

/** The error of a command that must fail, with its exit code. */
async function failure(peer: CliPeer, args: readonly string[]) {
  const { code, stdout, stderr } = await peer.run([...args, "--json"]);
  expect(stdout).toBe("");
  return { exit: code, ...(JSON.parse(stderr.trim().split("\n").at(-1) ?? "") as { error: string; code: string }) };
}

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
      const edit = await failure(ana, ["edit", subject, his, "hijacked"]);
      expect(edit).toMatchObject({ exit: 1, code: "forbidden" });
      expect(edit.error).toBe(
        `message ${his} was sent by bob (${bob.identity.endpoint}) (edit only your own messages)`,
      );
      expect(await failure(bob, ["delete", subject, hers])).toMatchObject({ exit: 1, code: "forbidden" });
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
        expect(await failure(ana, args)).toMatchObject({ exit: 1, code: "not_found" });
      const reaction = (await ana.ok(["react", subject, id, "+1"])).trim();
      expect(await failure(ana, ["edit", subject, reaction, "x"])).toMatchObject({ exit: 1, code: "invalid" });
      expect(await failure(ana, ["edit", subject, "x", "y"])).toMatchObject({ exit: 2, code: "invalid" });
      expect(await failure(ana, ["edit", subject, id, ""])).toMatchObject({ exit: 2, code: "invalid" });
      expect(await failure(ana, ["react", subject, id, "not one"])).toMatchObject({ exit: 2, code: "invalid" });
      const live = await ana.room([bob], { mode: "nats" });
      for (const args of [
        ["edit", live, id, "x"],
        ["delete", live, id],
        ["react", live, id, "👍"],
        ["pin", live],
        ["title", live],
      ]) {
        const { exit, code, error } = await failure(ana, args);
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
      expect(await failure(bob, ["title", subject, "His"])).toMatchObject({
        ...{ exit: 1, code: "forbidden", error: expect.stringContaining("ask an owner: ana") },
      });
      expect(await failure(ana, ["title", subject, "x".repeat(101)])).toMatchObject({ exit: 2, code: "invalid" });
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
      expect(await failure(bob, ["pin", subject, one])).toMatchObject({ exit: 1, code: "forbidden" });
      expect(await failure(ana, ["pin", subject, two])).toMatchObject({ exit: 1, code: "not_found" });
      for (const wrong of [["--remove"], [one, "--clear"], [one, "--remove", "--clear"], ["x"]])
        expect(await failure(ana, ["pin", subject, ...wrong])).toMatchObject({ exit: 2, code: "invalid" });
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
      expect(await failure(ana, ["dm", "nobody"])).toMatchObject({ exit: 1, code: "not_found" });
      expect(await failure(ana, ["dm", "ana"])).toMatchObject({ exit: 1, code: "invalid" });
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
      expect(await failure(bob, ["history", subject, "--after", newUlid(Date.now())])).toMatchObject(later);
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
        expect(await failure(bob, ["history", subject, ...wrong])).toMatchObject({ exit: 2, code: "invalid" });
      await using tail = bob.start(["tail", subject, "--since", "2h", "--json"]);
      await tail.until("it prints what is stored", (all) => all.length === words.length);
      expect(textsOf(tail.stdout)).toEqual(words);
    },
    patienceMs,
  );
});

describe("wait", () => {
  const waits = async (peer: CliPeer, ...args: string[]) =>
    JSON.parse(await peer.ok(["wait", ...args, "--timeout", "30", "--json"])) as Record<string, unknown>;

  test(
    "returns one message after another, of others, with its room; again until it is acknowledged",
    async () => {
      const [subject, other] = [await ana.room([bob]), await ana.room([bob])];
      const id = await sent(ana, subject, "one", "--hops", "2");
      await sent(bob, subject, "his own");
      await sent(ana, subject, "two");
      const rooms = [subject, other];
      expect(await waits(bob, ...rooms)).toMatchObject({
        ...{ room: subject, room_id: expect.any(String), id, from: ana.identity.endpoint, handle: "ana" },
        ...{ kind: "text", text: "one", hops: 2, verified: true, time: expect.any(String) },
      });
      expect(await waits(bob, ...rooms, "--again")).toMatchObject({ id });
      expect(await waits(bob, ...rooms)).toMatchObject({ text: "two" });
      expect(await waits(bob, ...rooms, "--again")).toMatchObject({ text: "two" });
      await using waiting = bob.start(["wait", ...rooms]);
      const reply = await sent(ana, other, "three\nlines");
      await waiting.until("the message is printed", (lines) => lines.length === 1);
      expect(waiting.lines[0]).toMatch(new RegExp(`^${other}  ${reply}  .+  ana  three\\\\nlines$`));
      expect(await waiting.end("eof")).toBe(0);
      const none = await failure(bob, ["wait", ...rooms, "--timeout", "0"]);
      expect(none).toMatchObject({ exit: 1, code: "timeout", error: expect.stringContaining("no message came") });
      // The wait that found nothing acknowledged the message.
      expect(await failure(bob, ["wait", ...rooms, "--timeout", "1", "--again"])).toMatchObject({ code: "timeout" });
      // Another device has another position.
      expect(await waits(bob, subject, "--device", "two")).toMatchObject({ id });
      expect(await failure(bob, ["wait", subject, "--device", "3", "--new", "--timeout", "0"])).toMatchObject(none);
    },
    patienceMs,
  );

  test(
    "in a room that keeps nothing returns what comes while it waits",
    async () => {
      const subject = await ana.room([bob], { mode: "nats" });
      await using waiting = bob.start(["wait", subject, "--json"]);
      await using sending = ana.start(["worker", subject, "--every", "200"]);
      await waiting.until("a message is printed", (lines) => lines.length === 1);
      expect(jsonLines(waiting.stdout)).toMatchObject([{ room: subject, handle: "ana" }]);
      await sending.end("SIGINT");
    },
    patienceMs,
  );

  test(
    "loses nothing and repeats nothing while it is killed at any moment; a second one at once is refused",
    async () => {
      const subject = await ana.room([bob]);
      const words = Array.from({ length: 12 }, (_, index) => `m${index}`);
      await ana.ok(["send", subject, "--lines"], words.slice(0, 8).join("\n"));
      const got: { id: string; text: string }[] = [];
      let late = words.slice(8);
      let wasKilled = false;
      for (let round = 0; got.length < words.length; round++) {
        expect(round).toBeLessThan(200);
        await using waiting = bob.start(["wait", subject, "--json", "--timeout", "30"]);
        // Every second one is killed, a little later each time: before it connects, while it reads, while it prints.
        const isKilled = round % 2 === 0;
        const killer = isKilled ? setTimeout(() => process.kill(waiting.pid, "SIGKILL"), 20 * (round % 20)) : undefined;
        const code = await waiting.exited;
        clearTimeout(killer);
        if (!isKilled) expect([code, waiting.stderr]).toEqual([0, ""]);
        // What was printed counts. One that was killed before it could record that is followed by the same message.
        for (const { id, text } of jsonLines(waiting.lines.join("\n")) as unknown as typeof got) {
          if (got.at(-1)?.id === id) expect(wasKilled).toBe(true);
          else got.push({ id, text });
        }
        wasKilled = isKilled;
        if (got.length >= 6 && late.length > 0) {
          await ana.ok(["send", subject, "--lines"], late.join("\n"));
          late = [];
        }
      }
      expect(got.map(({ text }) => text)).toEqual(words);
      await using first = bob.start(["wait", subject]);
      const refused = async () => (await failure(bob, ["wait", subject, "--timeout", "0"])).code;
      let code = await refused();
      for (let tries = 0; code === "timeout" && tries < 20; tries++) code = await refused();
      expect(code).toBe("conflict");
      await first.end("SIGINT");
    },
    2 * patienceMs,
  );
});

describe("wait, too,", () => {
  const waits = async (peer: CliPeer, ...args: string[]) =>
    JSON.parse(await peer.ok(["wait", ...args, "--timeout", "30", "--json"])) as Record<string, unknown>;

  test(
    "takes all rooms that the peer accepted in turn, and says if there are none",
    async () => {
      using cleo = await CliPeer.join(server, admin, "cleo");
      expect(await failure(cleo, ["wait", "--timeout", "0"])).toMatchObject({ exit: 1, code: "not_found" });
      const rooms = [await ana.room([cleo]), await ana.room([cleo])];
      for (const room of rooms) await ana.ok(["send", room, "--lines"], "1\n2");
      await cleo.ok(["room", "accept", ...rooms]);
      const got = [await waits(cleo), await waits(cleo), await waits(cleo), await waits(cleo)];
      expect(got.map(({ text }) => text)).toEqual(["1", "1", "2", "2"]);
      expect(new Set(got.slice(0, 2).map(({ room }) => room))).toEqual(new Set(rooms));
      await cleo.ok(["room", "leave", rooms[0] ?? ""]);
      expect(await failure(cleo, ["wait", "--timeout", "0"])).toMatchObject({ exit: 1, code: "timeout" });
    },
    patienceMs,
  );

  test(
    "returns a message again whose output was cut off, and goes on in a history that was restored",
    async () => {
      const subject = await ana.room([bob]);
      const long = "x".repeat(500_000);
      await ana.ok(["send", subject, "-"], long);
      // Nobody reads the pipe, so that the command is killed while it prints.
      const pipe = ana.folder.file("pipe");
      expect(Bun.spawnSync(["mkfifo", pipe]).exitCode).toBe(0);
      const end = openSync(pipe, constants.O_RDWR);
      const child = Bun.spawn([executable, "wait", subject, "--json"], {
        ...{ cwd: bob.folder.path, env: { HOME: bob.folder.path, ...bob.env }, stdout: end, stderr: "ignore" },
      });
      expect(await new Promise((resolve) => read(end, Buffer.alloc(1), 0, 1, null, (_, count) => resolve(count)))).toBe(
        1,
      );
      child.kill("SIGKILL");
      await child.exited;
      closeSync(end);
      expect(await waits(bob, subject)).toMatchObject({ text: long });
      // A server that was restored from a backup counts from an earlier number on.
      const id = await sent(ana, subject, "after the restore");
      const folder = join(bob.folder.path, ".local", "state", "unibus", bob.identity.endpoint, "waits");
      const record = JSON.parse(readFileSync(join(folder, "cli.json"), "utf8"));
      record.returned.seq = 1_000;
      writeFileSync(join(folder, "cli.json"), JSON.stringify(record));
      expect(await waits(bob, subject)).toMatchObject({ id });
    },
    patienceMs,
  );
});

describe("completion", () => {
  test(
    "offers rooms and handles in bash, nothing without a bus, and no name that a shell would read",
    async () => {
      const subject = await ana.room([bob]);
      await addUser(server, "$(touch evil)");
      writeFileSync(ana.folder.file("script"), await ana.ok(["completion", "bash"]));
      const complete = async (peer: CliPeer, url: string, ...words: string[]): Promise<string[]> => {
        const line =
          // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's own variable
          'source ./script; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _unibus; printf "%s\\n" "${COMPREPLY[@]}"';
        const home = { PATH: process.env.PATH ?? "", HOME: peer.folder.path, UNIBUS_URL: url };
        const child = Bun.spawn(["bash", "-c", line, "bash", executable, ...words], {
          ...{ cwd: ana.folder.path, env: home, stdout: "pipe", stderr: "pipe" },
        });
        const [out, error] = [await new Response(child.stdout).text(), await new Response(child.stderr).text()];
        expect(error).toBe("");
        return out.split("\n").filter(Boolean);
      };
      const url = server.ready.http;
      expect(await complete(ana, url, "send", subject.slice(0, -3))).toEqual([subject]);
      expect(await complete(ana, url, "room", "add", "--url", url, subject, "b")).toEqual(["bob"]);
      expect(await complete(ana, url, "dm", "a")).toEqual(["ana"]);
      expect(await complete(ana, url, "dm", "$")).toEqual([]);
      expect(await complete(ana, url, "send", subject, "b")).toEqual([]);
      expect(await complete(bob, "http://127.0.0.1:9", "dm", "a")).toEqual([]);
      const { code, stdout, stderr } = await bob.run(["completion", "rooms", "--json"]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout.split("\n")).toContain(subject);
    },
    patienceMs,
  );
});
