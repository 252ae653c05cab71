/**
 * Messages on the command line: `send` and `tail` with threads, reactions, `--lines`, `--json` and `--since`, through
 * pipes and with Ctrl-C. Each peer is a process of its own.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { closeSync, openSync, writeFileSync } from "node:fs";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { connect } from "../../src/client/index.ts";
import { CliPeer, jsonLines, type RoomOptions } from "../support/cli-peer.ts";
import { executable, Server, until } from "../support/executable.ts";
import { addUser, policy } from "../support/peer.ts";

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

/** Creates a room of ana with bob as a member. */
const roomOfTwo = (mode?: RoomOptions["mode"]): Promise<string> => ana.room([bob], { mode });

/** Starts a tail and waits until it is subscribed. */
async function tailing(peer: CliPeer, subject: string, ...options: string[]) {
  const tail = peer.start(["tail", subject, ...options]);
  await until("the tail has started", () => tail.stderr.includes(`following ${subject}`));
  return tail;
}

const texts = (lines: string | string[]) =>
  jsonLines(typeof lines === "string" ? lines : lines.join("\n")).map(({ text }) => text);

describe("two users, two processes", () => {
  test(
    "send and tail work both ways, with threads; Ctrl-C ends a tail with 0",
    async () => {
      const subject = await roomOfTwo();
      await using heardByAna = await tailing(ana, subject, "--json");
      await using heardByBob = bob.start(["tail", subject, "--since", "all"]);
      const id = (await ana.ok(["send", subject, "hello bob"])).trim();
      await heardByBob.until("bob receives ana's message", (lines) =>
        lines.some((line) => line.endsWith("  ana  hello bob")),
      );
      await bob.ok(["send", subject, "hello ana", "--reply-to", id]);
      const answer = `  bob  (to ana "hello bob") hello ana`;
      await heardByBob.until("bob receives his own message", (lines) => lines.some((line) => line.endsWith(answer)));
      const lines = await heardByAna.until("ana receives bob's message", (all) => texts(all).includes("hello ana"));
      expect(jsonLines(lines.join("\n")).at(-1)).toMatchObject({
        ...{ from: bob.identity.endpoint, handle: "bob", kind: "text", text: "hello ana" },
        ...{ re: id, thread: id, verified: true, late: false },
      });
      expect(heardByBob.lines.every((line) => /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d {2}\S/.test(line))).toBe(true);
      expect([await heardByAna.end("SIGINT"), await heardByBob.end("SIGTERM")]).toEqual([0, 0]);
      const note = `following ${subject} (Ctrl-C stops)\n`;
      expect([heardByAna.stderr, heardByBob.stderr]).toEqual([note, note]);
    },
    patienceMs,
  );

  test(
    "a tail ends with 1 when its user is removed",
    async () => {
      const subject = await roomOfTwo();
      await using tail = await tailing(bob, subject, "--json");
      await ana.ok(["room", "kick", subject, "bob"]);
      await ana.ok(["send", subject, "not for bob"]);
      expect(await tail.end("eof")).toBe(1);
      expect(tail.stderr).toMatch(/^\{"error":".+ \(.+\)","code":"forbidden"\}\n$/m);
      expect(texts(tail.stdout)).not.toContain("not for bob");
    },
    patienceMs,
  );

  test(
    "reactions and binary messages are readable",
    async () => {
      const subject = await roomOfTwo();
      const id = (await ana.ok(["send", subject, "shall we?"])).trim();
      await using bus = await connect({ url: server.ready.http, identity: bob.identity, state: "memory" });
      const room = await bus.room(subject);
      await room.react({ id, thread: null }, "👍");
      await room.send(new Uint8Array([0xff, 0x00]));
      const { id: own } = await room.send("yes");
      await room.edit({ id: own, thread: null, from: bob.identity.endpoint }, "no");
      const [, reaction, bytes, , edit] = (await ana.ok(["history", subject])).trim().split("\n");
      expect(edit).toEndWith('  bob  * edited "yes": no');
      expect(reaction).toEndWith(`  bob  👍 to ana "shall we?"`);
      expect(bytes).toEndWith("  bob  [2 B, not text]");
      const [, one, two] = jsonLines(await ana.ok(["history", subject, "--json"]));
      expect(one).toMatchObject({ kind: "react", text: "👍", re: id });
      expect(two).toMatchObject({ kind: "data", data: "/wA=" });
      expect(two).not.toHaveProperty("text");
    },
    patienceMs,
  );

  test(
    "a message cannot send escape sequences to the terminal of another user",
    async () => {
      const subject = await roomOfTwo();
      const evil = "\x1b[2Jgone\r\n\x07\u009b31m\u202edoog";
      await bob.ok(["send", subject, evil]);
      const lines = await ana.ok(["history", subject]);
      expect(lines).toEndWith("  bob  \\x1b[2Jgone\\r\\n\\x07\\x9b31m\\u{202e}doog\n");
      const json = await ana.ok(["history", subject, "--json"]);
      expect(json).not.toMatch(/[\x1b\x07\x9b\u202e]/);
      expect(texts(json)).toEqual([evil]);
    },
    patienceMs,
  );
});

describe("a message can be", () => {
  test(
    "text, all of stdin, a file, binary data, or text that begins with a dash",
    async () => {
      const subject = await roomOfTwo();
      writeFileSync(ana.folder.file("note.txt"), "line one\nline two\n");
      await ana.ok(["send", subject, "a text"]);
      await ana.ok(["send", subject], "whole\nstdin\n");
      await ana.ok(["send", subject, "-"], "dash");
      await ana.ok(["send", subject, "--file", "note.txt"]);
      await ana.ok(["send", subject, "--", "-5 degrees"]);
      expect(texts(await bob.ok(["history", subject, "--json"]))).toEqual([
        ...["a text", "whole\nstdin\n", "dash", "line one\nline two\n", "-5 degrees"],
      ]);
      const sent = JSON.parse(await ana.ok(["send", subject, "counted", "--json"]));
      expect(sent).toEqual({ id: expect.any(String), seq: 6 });
    },
    patienceMs,
  );

  test(
    "at most 1 MiB: a larger one is refused, with an alternative",
    async () => {
      const subject = await roomOfTwo();
      const { code, stderr } = await ana.run(["send", subject], "x".repeat(1_200_000));
      expect([code, stderr.includes("--attach")]).toEqual([1, true]);
    },
    patienceMs,
  );

  test(
    "one of 1,000 lines through a pipe, which arrive in order, with empty and unterminated ones",
    async () => {
      for (const mode of ["matrix", "nats"] as const) {
        const subject = await roomOfTwo(mode);
        await using tail = await tailing(bob, subject, "--json");
        const begun = tail.lines.length;
        const lines = ["", ...Array.from({ length: 998 }, (_, i) => `${i}`), "unended"];
        const { code, stderr } = await ana.run(["send", subject, "--lines"], lines.join("\n"));
        expect([code, stderr]).toEqual([0, "1000 sent\n"]);
        const heard = await tail.until("all lines arrived", (all) => all.length >= begun + 1_000);
        expect(texts(heard.slice(-1_000))).toEqual(lines);
        if (mode === "nats") continue;
        expect(texts(await bob.ok(["history", subject, "--limit", "1000", "--json"]))).toEqual(lines);
        expect((await bob.ok(["history", subject, "--limit", "3"])).trim().split("\n")).toHaveLength(3);
      }
    },
    2 * patienceMs,
  );

  test(
    "lines with --json: the sequence of each is printed, in order",
    async () => {
      const subject = await roomOfTwo();
      const placed = jsonLines(await ana.ok(["send", subject, "--lines", "--json"], "a\nb\nc\n"));
      expect(placed.map(({ seq }) => seq)).toEqual([1, 2, 3]);
    },
    patienceMs,
  );

  test(
    "interrupted: Ctrl-C before it is sent exits with 130, and sends nothing",
    async () => {
      const subject = await roomOfTwo();
      await using send = ana.start(["send", subject]);
      send.write("half a thought");
      await using later = await tailing(bob, subject, "--json");
      expect(await send.end("SIGINT")).toBe(130);
      expect(send.stdout).toBe("");
      expect(texts(later.stdout)).not.toContain("half a thought");
      expect(await ana.ok(["history", subject])).not.toContain("half a thought");
    },
    patienceMs,
  );
});

describe("reading", () => {
  test(
    "a tail since a message prints what followed, across pages, then new messages",
    async () => {
      const subject = await roomOfTwo();
      const ids = jsonLines(
        await ana.ok(
          ["send", subject, "--lines", "--json"],
          Array.from({ length: 1_300 }, (_, i) => `m${i}`).join("\n"),
        ),
      ).map(({ id }) => id as string);
      const from = 150;
      await using tail = bob.start(["tail", subject, "--json", "--since", ids[from - 1] ?? ""]);
      await tail.until("the stored messages are printed", (lines) => lines.length >= 1_300 - from);
      await ana.ok(["send", subject, "fresh"]);
      const lines = await tail.until("the new message is printed, too", (all) => texts(all).includes("fresh"));
      expect(texts(lines)).toEqual([...Array.from({ length: 1_300 - from }, (_, i) => `m${i + from}`), "fresh"]);
    },
    2 * patienceMs,
  );

  test(
    "ids at the start of the lines are accepted by --since",
    async () => {
      const subject = await roomOfTwo();
      const id = (await ana.ok(["send", subject, "first"])).trim();
      await ana.ok(["send", subject, "second"]);
      const [first] = (await bob.ok(["history", subject, "--ids"])).split("\n");
      expect(first).toStartWith(`${id}  `);
      await using tail = bob.start(["tail", subject, "--since", id]);
      await tail.until(
        "the second message is printed",
        (lines) => lines.length === 1 && lines[0]?.endsWith("second") === true,
      );
    },
    patienceMs,
  );

  test(
    "unsigned messages are marked",
    async () => {
      const subject = await roomOfTwo(policy("persist"));
      await ana.ok(["send", subject, "who am I?"]);
      expect(await bob.ok(["history", subject])).toEndWith("  ana?  who am I?\n");
      expect(jsonLines(await bob.ok(["history", subject, "--json"]))[0]).toMatchObject({ verified: false });
    },
    patienceMs,
  );

  test(
    "a large history passes through a slow pipe completely, and a closed pipe is not an error",
    async () => {
      const subject = await roomOfTwo();
      await ana.ok(
        ["send", subject, "--lines"],
        Array.from({ length: 600 }, (_, i) => `${i} ${"x".repeat(500)}`).join("\n"),
      );
      const env = { ...process.env, HOME: bob.folder.path, XDG_CONFIG_HOME: "", ...bob.env };
      const shell = async (line: string) => {
        const child = Bun.spawn(["bash", "-c", line, "bash", executable, subject], {
          ...{ env, cwd: bob.folder.path, stdout: "pipe", stderr: "pipe" },
        });
        return [await new Response(child.stdout).text(), await new Response(child.stderr).text()];
      };
      const slowly = '"$1" history "$2" --limit 600 | (read -r first; read -r second; cat) | wc -l';
      expect(await shell(slowly)).toEqual(["598\n", ""]);
      const cut = '"$1" history "$2" --limit 600 | head -n 1 | wc -l; echo "$PIPESTATUS"';
      expect(await shell(cut)).toEqual(["1\n0\n", ""]);
      const tailed = '"$1" tail "$2" --since all | head -n 2 | wc -l; echo "$PIPESTATUS"';
      expect(await shell(tailed)).toEqual(["2\n0\n", `following ${subject} (Ctrl-C stops)\n`]);
    },
    patienceMs,
  );

  test(
    "a full disk is an error",
    async () => {
      const subject = await roomOfTwo();
      await ana.ok(["send", subject, "hello"]);
      const full = openSync("/dev/full", "w");
      try {
        const child = Bun.spawn([executable, "history", subject], {
          ...{ cwd: bob.folder.path, env: { HOME: bob.folder.path, ...bob.env }, stdout: full, stderr: "pipe" },
        });
        expect(await child.exited).toBe(1);
        expect(await new Response(child.stderr).text()).toMatch(/^error: cannot write to stdout: ENOSPC \(.+\)\n$/);
      } finally {
        closeSync(full);
      }
    },
    patienceMs,
  );
});
