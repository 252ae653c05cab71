/**
 * `wait` and completion on the command line: what programs and shells ask for. Each peer is a process of its own.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { closeSync, constants, openSync, read, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { CliPeer, jsonLines } from "../support/cli-peer.ts";
import { executable, Server, until } from "../support/executable.ts";
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

const waits = async (peer: CliPeer, ...args: string[]) =>
  JSON.parse(await peer.ok(["wait", ...args, "--timeout", "30", "--json"])) as Record<string, unknown>;

describe("wait", () => {
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
      const none = await bob.failure(["wait", ...rooms, "--timeout", "0"]);
      expect(none).toMatchObject({ exit: 1, code: "timeout", error: expect.stringContaining("no message came") });
      // The wait that found nothing acknowledged the message.
      expect(await bob.failure(["wait", ...rooms, "--timeout", "1", "--again"])).toMatchObject({ code: "timeout" });
      // Another device has another position.
      expect(await waits(bob, subject, "--device", "two")).toMatchObject({ id });
      expect(await bob.failure(["wait", subject, "--device", "3", "--new", "--timeout", "0"])).toMatchObject({
        ...{ exit: 1, code: "timeout" },
      });
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
    "loses nothing and repeats nothing while it is killed at any moment",
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
    },
    2 * patienceMs,
  );

  test(
    "takes all rooms that the peer accepted in turn, and says if there are none",
    async () => {
      using cleo = await CliPeer.join(server, admin, "cleo");
      expect(await cleo.failure(["wait", "--timeout", "0"])).toMatchObject({ exit: 1, code: "not_found" });
      const rooms = [await ana.room([cleo]), await ana.room([cleo])];
      for (const room of rooms) await ana.ok(["send", room, "--lines"], "1\n2");
      await cleo.ok(["room", "accept", ...rooms]);
      const got = [await waits(cleo), await waits(cleo), await waits(cleo), await waits(cleo)];
      expect(got.map(({ text }) => text)).toEqual(["1", "1", "2", "2"]);
      expect(new Set(got.slice(0, 2).map(({ room }) => room))).toEqual(new Set(rooms));
      await cleo.ok(["room", "leave", rooms[0] ?? ""]);
      expect(await cleo.failure(["wait", "--timeout", "0"])).toMatchObject({ exit: 1, code: "timeout" });
    },
    patienceMs,
  );

  test(
    "returns a message again whose output was cut off, and goes on in a history that was restored",
    async () => {
      const subject = await ana.room([bob]);
      const long = "x".repeat(500_000);
      await ana.ok(["send", subject, "-"], long);
      // The pipe has no reader, so that the command is killed while it prints.
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
      // On a busy machine the bus may answer too late for completion. Afterwards the names are cached.
      const names = async (peer: CliPeer) => (await peer.ok(["completion", "rooms"])).split("\n");
      await until("the names are known", async () => (await names(ana)).includes(subject));
      await until("bob's, too", async () => (await names(bob)).includes(subject));
      expect(await complete(ana, url, "send", subject.slice(0, -3))).toEqual([subject]);
      expect(await complete(ana, url, "room", "add", "--url", url, subject, "b")).toEqual(["bob"]);
      expect(await complete(ana, url, "dm", "a")).toEqual(["ana"]);
      expect(await complete(ana, url, "dm", "$")).toEqual([]);
      expect(await complete(ana, url, "send", subject, "b")).toEqual([]);
      expect(await complete(bob, "http://127.0.0.1:9", "dm", "a")).toEqual([]);
    },
    patienceMs,
  );
});
