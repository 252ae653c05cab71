/**
 * Services on the command line: `request` and `serve-rpc`, files as blobs, and the example worker.
 * Each peer is a process of its own.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { closeSync, constants, existsSync, openSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { CliPeer, jsonLines, type RoomOptions, type Running } from "../support/cli-peer.ts";
import { Server, until } from "../support/executable.ts";
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

const roomOfTwo = (namespace: string, mode?: RoomOptions["mode"]): Promise<string> =>
  ana.room([bob], { namespace, mode });

/** Starts a responder of bob and waits until it answers. */
async function answering(subject: string, options: readonly string[], ...command: string[]): Promise<Running> {
  const service = bob.start(["serve-rpc", subject, ...options, "--", ...command]);
  await until("the service answers", () => service.stderr.includes(`answering in ${subject}`));
  return service;
}

describe("requests", () => {
  test(
    "a command gets the request on stdin and the requester's name, and answers with its stdout, byte for byte",
    async () => {
      for (const mode of ["matrix", "nats"] as const) {
        const subject = await roomOfTwo("rpc", mode);
        await using upper = await answering(subject, [], "tr", "a-z", "A-Z");
        expect(await ana.ok(["request", subject, "shout"])).toBe("SHOUT");
        expect(await ana.ok(["request", subject, "-"], "line\nline\n")).toBe("LINE\nLINE\n");
        const answer = JSON.parse(await ana.ok(["request", subject, "json", "--json"]));
        expect(answer).toMatchObject({ handle: "bob", text: "JSON", verified: mode === "matrix" });
        expect(await upper.end("SIGTERM")).toBe(0);
      }
      const subject = await roomOfTwo("rpc");
      const who = 'echo "$UNIBUS_REQUEST_HANDLE $UNIBUS_REQUEST_FROM"; printf "\\377"';
      await using _service = await answering(subject, [], "bash", "-c", who);
      const { data } = JSON.parse(await ana.ok(["request", subject, "who", "--json"]));
      expect(Buffer.from(data, "base64").toString("latin1")).toBe(`ana ${ana.identity.endpoint}\n\xff`);
    },
    2 * patienceMs,
  );

  test(
    "a command that fails or times out sends no answer and is logged; the next request is answered",
    async () => {
      const subject = await roomOfTwo("rpc");
      const script = 'read -r what; [ "$what" = fail ] && exit 3; [ "$what" = hang ] && exec sleep 600; echo "$what"';
      await using service = await answering(subject, ["--timeout", "500"], "bash", "-c", script);
      for (const [what, why] of [
        ["fail", "exit 3"],
        ["hang", "more than 500 ms"],
      ] as const) {
        const { code, stdout, stderr } = await ana.run(["request", subject, what, "--timeout", "1500"]);
        expect([code, stdout]).toEqual([1, ""]);
        expect(stderr).toMatch(/^error: no reply within [\d.]+ s \(.+\)\n$/);
        await until("the failure is logged", () => service.stderr.includes(why));
      }
      expect(await ana.ok(["request", subject, "fine"])).toBe("fine\n");
    },
    patienceMs,
  );

  test(
    "several requests run at once, up to the limit",
    async () => {
      const subject = await roomOfTwo("rpc");
      const running = bob.folder.file("running");
      const log = bob.folder.file("log");
      const script = `mkdir "${running}.$$"; ls -d "${running}".* | wc -l >> "${log}"; sleep 0.3; rmdir "${running}.$$"; echo ok`;
      await using _service = await answering(subject, ["--parallel", "2"], "bash", "-c", script);
      const ask = () => ana.ok(["request", subject, "go", "--timeout", "20000"]);
      expect(await Promise.all([ask(), ask(), ask(), ask(), ask(), ask()])).toEqual([
        "ok\n",
        "ok\n",
        "ok\n",
        "ok\n",
        "ok\n",
        "ok\n",
      ]);
      const most = Math.max(...readFileSync(log, "utf8").trim().split("\n").map(Number));
      expect(most).toBe(2);
    },
    patienceMs,
  );

  test(
    "on SIGTERM it finishes the current request; removed from the room, it exits with 1",
    async () => {
      const subject = await roomOfTwo("rpc");
      const begun = bob.folder.file("begun");
      await using slow = await answering(subject, [], "bash", "-c", `touch "${begun}"; sleep 0.5; echo done`);
      const asking = ana.ok(["request", subject, "go", "--timeout", "20000"]);
      await until("the request is running", () => existsSync(begun));
      process.kill(slow.pid, "SIGTERM");
      expect(await asking).toBe("done\n");
      expect(await slow.end("eof")).toBe(0);
      await using service = await answering(subject, [], "cat");
      await ana.ok(["room", "kick", subject, "bob"]);
      expect(await service.end("eof")).toBe(1);
      expect(service.stderr).toMatch(/^error: .+ \(.+\)$/m);
    },
    patienceMs,
  );
});

describe("files", () => {
  test(
    "a file can be sent and read by reference, by message, and through pipes",
    async () => {
      const subject = await roomOfTwo("room");
      const content = crypto.getRandomValues(new Uint8Array(300_000));
      writeFileSync(ana.folder.file("picture.bin"), content);
      const ref = (await ana.ok(["blob", "put", subject, "picture.bin"])).trim();
      expect(ref).toMatch(/^[0-9a-f]{64}\.[A-Za-z0-9_-]{32}\.300016\.1$/);
      await bob.ok(["blob", "get", subject, ref, "--out", "copy.bin"]);
      expect(new Uint8Array(readFileSync(bob.folder.file("copy.bin")))).toEqual(content);

      const id = (await ana.ok(["send", subject, "look at this", "--attach", "picture.bin"])).trim();
      const [message] = jsonLines(await bob.ok(["history", subject, "--json"]));
      expect(message).toMatchObject({ id, text: "look at this" });
      expect(await bob.ok(["history", subject])).toContain(`look at this [file, "picture.bin", 293.0 KiB: ${id}]`);
      for (const name of [id, String(message?.blob)]) {
        await bob.ok(["blob", "get", subject, name, "--out", "again.bin"]);
        expect(new Uint8Array(readFileSync(bob.folder.file("again.bin")))).toEqual(content);
      }
      const small = (await ana.ok(["blob", "put", subject, "-", "--json"], "from stdin")).trim();
      expect(await bob.ok(["blob", "get", subject, JSON.parse(small).ref, "--out", "-"])).toBe("from stdin");
    },
    patienceMs,
  );

  test(
    "a file above 16 MiB is sent and fetched in parts; the sender's name is cleaned, and no file is replaced",
    async () => {
      const subject = await roomOfTwo("room");
      const content = crypto.getRandomValues(new Uint8Array(65_536));
      const large = Buffer.alloc(17 * 1_048_576, content);
      writeFileSync(ana.folder.file("large.png"), large);
      const options = ["--name", ".bashrc", "--caption", "look at this", "--json"];
      const { id } = JSON.parse(await ana.ok(["file", "send", subject, "large.png", ...options]));
      const [message] = jsonLines(await bob.ok(["history", subject, "--json"]));
      expect(message).toMatchObject({
        id,
        kind: "file",
        text: "look at this",
        file_name: ".bashrc",
        file_size: 17_825_792,
      });
      expect([message?.media_type, message?.blob]).toEqual([undefined, undefined]);
      expect(await bob.ok(["history", subject])).toContain(`look at this [file, ".bashrc", 17.0 MiB: ${id}]`);
      expect(await bob.ok(["file", "get", subject, id])).toBe("bashrc\n");
      expect(readFileSync(bob.folder.file("bashrc")).equals(large)).toBe(true);
      writeFileSync(bob.folder.file("bashrc"), "mine");
      for (const args of [[], ["--out", "bashrc"]]) {
        const { code, stderr } = await bob.run(["file", "get", subject, id, ...args]);
        expect([code, stderr]).toEqual([1, expect.stringMatching(/^error: bashrc exists \(.+--force\)\n$/)]);
      }
      expect(readFileSync(bob.folder.file("bashrc"), "utf8")).toBe("mine");
      const got = JSON.parse(await bob.ok(["file", "get", subject, id, "--out", "bashrc", "--force", "--json"]));
      expect(got).toEqual({ file: "bashrc", size: 17_825_792, file_name: ".bashrc", media_type: null });
      expect(readFileSync(bob.folder.file("bashrc")).equals(large)).toBe(true);
      const { code, stderr } = await bob.run(["blob", "get", subject, id, "--out", "f"]);
      expect([code, stderr]).toEqual([1, expect.stringContaining("(use unibus file get)")]);

      const piped = (await ana.ok(["file", "send", subject, "-", "--type", "text/plain"], "from stdin")).trim();
      expect(await bob.ok(["file", "get", subject, piped, "--out", "-"])).toBe("from stdin");
    },
    2 * patienceMs,
  );

  test(
    "file send ends at the first signal while its pipe is silent",
    async () => {
      const subject = await roomOfTwo("room");
      const pipe = ana.folder.file("silent");
      execFileSync("mkfifo", [pipe]);
      await using sending = ana.start(["file", "send", subject, pipe]);
      let writer = -1;
      const opened = () => {
        try {
          writer = openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK);
        } catch {}
        return writer !== -1;
      };
      await until("the command has opened the pipe", opened);
      expect(await sending.end("SIGTERM")).toBe(143);
      closeSync(writer);
    },
    patienceMs,
  );

  test(
    "a file whose sending is interrupted leaves nothing on the server",
    async () => {
      const subject = await roomOfTwo("room");
      const folder = server.folder.file("data", "blobs", "by-owner", ana.identity.endpoint);
      const stored = () => (existsSync(folder) ? readdirSync(folder).length : 0);
      const before = stored();
      await using sending = ana.start(["file", "send", subject, "-"]);
      sending.write("x".repeat(5 * 1_048_576));
      await until("a part is stored", () => stored() > before);
      expect(await sending.end("SIGINT")).toBe(130);
      expect(stored()).toBe(before);
    },
    patienceMs,
  );

  test(
    "a reference of an earlier epoch opens after a rekey; later members and removed ones cannot open it",
    async () => {
      const subject = await roomOfTwo("room");
      using cleo = await CliPeer.join(server, admin, "cleo");
      const ref = (await ana.ok(["blob", "put", subject, "-"], "of the first epoch")).trim();
      await ana.ok(["room", "rekey", subject]);
      await ana.ok(["room", "add", subject, "cleo"]);
      expect(await bob.ok(["blob", "get", subject, ref, "--out", "-"])).toBe("of the first epoch");
      expect((await cleo.run(["blob", "get", subject, ref, "--out", "f"])).code).toBe(1);
      expect(existsSync(cleo.folder.file("f"))).toBe(false);
      const { room_id } = JSON.parse(await ana.ok(["room", "show", subject, "--json"]));
      await ana.ok(["room", "kick", subject, "bob"]);
      expect((await bob.run(["blob", "get", room_id, ref, "--out", "-"])).code).toBe(1);
    },
    patienceMs,
  );

  test(
    "another blob's bytes, a message without a file, and an unencrypted room are refused",
    async () => {
      const subject = await roomOfTwo("room");
      const [one, two] = [
        await ana.ok(["blob", "put", subject, "-"], "1"),
        await ana.ok(["blob", "put", subject, "-"], "2"),
      ];
      const mixed = [one.split(".")[0], ...two.trim().split(".").slice(1)].join(".");
      const plain = await roomOfTwo("room", policy("persist"));
      const id = (await ana.ok(["send", subject, "no file"])).trim();
      for (const args of [
        ["blob", "get", subject, mixed, "--out", "-"],
        ["blob", "get", subject, id, "--out", "-"],
        ["blob", "put", plain, "-"],
      ]) {
        const { code, stdout, stderr } = await ana.run(args);
        expect([code, stdout]).toEqual([1, ""]);
        expect(stderr).toMatch(/^error: .+ \(.+\)\n$/);
      }
    },
    patienceMs,
  );
});

describe("worker", () => {
  test(
    "prints ticks, counts sent, acknowledged and received messages, and others receive its telemetry",
    async () => {
      const subject = await roomOfTwo("proc");
      await using other = bob.start(["worker", subject, "--every", "50", "--json"]);
      await other.until("the first ticks are printed", (lines) => lines.length >= 2);
      const stdout = await ana.ok(["worker", subject, "--every", "100", "--count", "5", "--json"]);
      const ticks = jsonLines(stdout);
      expect(ticks.map(({ tick }) => tick)).toEqual([1, 2, 3, 4, 5]);
      const last = ticks.at(-1);
      expect(last).toMatchObject({ sent: 5, acked: 5, failed: 0 });
      expect(Number(last?.received)).toBeGreaterThan(0);
      await other.until(
        "its messages are received",
        (lines) => Number(jsonLines(lines.at(-1) ?? "")[0]?.received) >= 5,
      );
      expect(await other.end("SIGINT")).toBe(0);
      const reports = jsonLines(await bob.ok(["history", subject, "--json"])).map(({ text }) =>
        JSON.parse(String(text)),
      );
      expect(reports[0]).toMatchObject({
        tick: 1,
        sent: 0,
        uptime_ms: expect.any(Number),
        rss_bytes: expect.any(Number),
      });
      expect(await ana.ok(["worker", subject, "--every", "1", "--count", "1"])).toMatch(
        /^tick 1 {2}sent 1 {2}acked 1 {2}failed 0 {2}received \d+\n$/,
      );
    },
    patienceMs,
  );
});
