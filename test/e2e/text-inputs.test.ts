/**
 * Text on stdin and in files as other systems write it: byte order marks, CRLF, empty input, no final newline.
 * Covers every row of test/cases/text-inputs.json, and similar inputs.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect as dialTls } from "node:tls";
import { connect as dialNats } from "nats";
import manifest from "../../plugins.json";
import type { Identity } from "../../src/client/crypto/identity.ts";
import rows from "../cases/text-inputs.json";
import { Authority } from "../support/certificates.ts";
import { CliPeer, jsonLines, type Running } from "../support/cli-peer.ts";
import { executable, Folder, isAlive, Server, unibus, until } from "../support/executable.ts";
import { addUser } from "../support/peer.ts";

/** Timeout of each test, generous for a busy machine, in milliseconds. */
const patienceMs = 60_000;
const mark = "\ufeff";
const crlf = (text: string) => text.replaceAll("\n", "\r\n");

let server: Server;
let admin: Identity;
let ana: CliPeer;
let bob: CliPeer;

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=100000"] });
  admin = await addUser(server, "root", { admin: true });
  ana = await CliPeer.join(server, admin, "ana");
  bob = await CliPeer.join(server, admin, "bob");
  mkdirSync(ana.folder.file("folder"));
  writeFileSync(ana.folder.file("empty"), "");
}, patienceMs);
afterAll(async () => {
  ana[Symbol.dispose]();
  bob[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
});

const newRoom = (): Promise<string> => ana.room();

/** The messages in a room after `send --lines` with some bytes. */
async function sentLines(input: string): Promise<unknown[]> {
  const subject = await newRoom();
  await ana.ok(["send", subject, "--lines"], input);
  return jsonLines(await ana.ok(["history", subject, "--json"])).map(({ text }) => text);
}

/** Expects a refusal, and that nothing was sent. */
async function refused(code: number, why: RegExp, args: readonly string[], stdin = ""): Promise<void> {
  const subject = await newRoom();
  const done = await ana.run(
    args.map((arg) => (arg === "ROOM" ? subject : arg)),
    stdin,
  );
  expect([args, done.code, done.stdout, done.stderr]).toEqual([args, code, "", expect.stringMatching(why)]);
  expect(await ana.ok(["history", subject])).toBe("");
}

/** Runs a command line in a shell, as ana. */
function shell(script: string, ...args: readonly string[]) {
  const { path } = ana.folder;
  const env = { PATH: process.env.PATH ?? "", HOME: path, ...ana.env, NO_COLOR: "1" };
  const done = Bun.spawnSync(["bash", "-c", script, "bash", ...args], { cwd: path, env });
  return { code: done.exitCode, stdout: String(done.stdout), stderr: String(done.stderr) };
}

/** Starts a responder of bob and waits until it answers. */
async function answering(subject: string, options: readonly string[], ...command: string[]): Promise<Running> {
  await ana.ok(["room", "add", subject, "bob"]);
  const service = bob.start(["serve-rpc", subject, ...options, "--", ...command]);
  await until("the service answers", () => service.stderr.includes(`answering in ${subject}`));
  return service;
}

const nothing = /^error: nothing to send: .+ is empty \(write a message\)\n/;

/** Serves with a certificate and key as a Windows program writes them, and logs in to both planes. */
async function readsPem(change: (text: string) => string): Promise<void> {
  using authority = new Authority();
  using folder = new Folder();
  const { cert, key } = authority.issue("one");
  for (const [name, file] of Object.entries({ "tls.pem": cert, "tls.key": key })) {
    writeFileSync(folder.file(name), change(readFileSync(file, "utf8")), { mode: 0o600 });
  }
  const args = ["--tls-cert", folder.file("tls.pem"), "--tls-key", folder.file("tls.key")];
  await using secure = await Server.start({ folder, args });
  const ca = readFileSync(authority.file, "utf8");
  const ask = (path: string) => fetch(`${secure.ready.http}${path}`, { tls: { ca } });
  expect((await ask("/readyz")).status).toBe(200);
  const { hostname, port } = new URL(secure.ready.nats);
  const refusedLogin = await dialNats({ servers: `${hostname}:${port}`, tls: { ca }, reconnect: false }).catch(String);
  expect(refusedLogin).toMatch(/Authorization/i);
  const wss = new URL(secure.ready.ws);
  await new Promise((resolve, reject) => {
    const socket = dialTls({ host: wss.hostname, port: Number(wss.port), ca, servername: "localhost" }, () => {
      socket.end();
      resolve(null);
    });
    socket.on("error", reject);
  });
}

/** The trial for each row of the file. */
const trials: Readonly<Record<string, () => Promise<void>>> = {
  "lines with CRLF into `send --lines`": async () => expect(await sentLines("l1\r\nl2\r\n")).toEqual(["l1", "l2"]),
  "byte order mark before the first line": async () => expect(await sentLines(`${mark}first\n`)).toEqual(["first"]),
  "an identity file with a byte order mark": async () => {
    const text = readFileSync(ana.folder.file(".config", "unibus", "identity.json"), "utf8");
    writeFileSync(ana.folder.file("marked.json"), mark + crlf(text));
    const shown = await ana.ok(["identity", "show", "--identity", "marked.json", "--json"]);
    expect(JSON.parse(shown).endpoint).toBe(ana.identity.endpoint);
  },
  "plugins.json with a byte order mark": async () => {
    writeFileSync(ana.folder.file("plugins.json"), mark + crlf(JSON.stringify(manifest, null, 2)));
    const plan = await unibus(ana.folder, ["plan", "--plugins", "plugins.json"]);
    expect([plan.code, plan.stderr]).toEqual([0, ""]);
  },
  "PEM files with CRLF": () => readsPem(crlf),
  "empty stdin into `send`": () => refused(2, nothing, ["send", "ROOM"]),
  "an empty argument to `send`": () => refused(2, nothing, ["send", "ROOM", ""]),
  "last line without a newline into `send --lines`": async () => expect(await sentLines("a\nb")).toEqual(["a", "b"]),
  "`serve-rpc` command that leaves a child holding its stdout": async () => {
    const subject = await newRoom();
    const pidFile = bob.folder.file("pid");
    await using service = await answering(subject, [], "sh", "-c", `echo ok; sleep 61 & echo $! > "${pidFile}"`);
    const began = performance.now();
    expect(await ana.ok(["request", subject, "go", "--timeout", "30000"])).toBe("ok\n");
    expect(performance.now() - began).toBeLessThan(30_000);
    const pid = Number(readFileSync(pidFile, "utf8"));
    expect(isAlive(pid)).toBe(true);
    expect(await service.end("SIGTERM")).toBe(0);
    expect(isAlive(pid)).toBe(false);
  },
  "`history` with a closed stdout": async () => {
    const subject = await newRoom();
    await ana.ok(["send", subject, "hello"]);
    for (const script of ['"$1" history "$2" >&-', '"$1" whoami >&-', '"$1" send "$2" again >&-']) {
      const { code, stderr } = shell(script, executable, subject);
      expect([script, code, stderr]).toEqual([script, 1, expect.stringMatching(/^error: stdout is closed \(/)]);
    }
    expect(jsonLines(await ana.ok(["history", subject, "--json"]))).toHaveLength(1);
  },
  "`send --file` of a folder": () =>
    refused(1, /^error: folder is a folder \(name a file\)\n$/, ["send", "ROOM", "--file", "folder"]),
  "`blob put` of an empty file": () =>
    refused(1, /^error: \/dev\/null is empty \(/, ["blob", "put", "ROOM", "/dev/null"]),
};

describe("a text input of the shared cases", () => {
  test.each(rows.map(({ name }) => name))(
    "%s",
    async (name) => trials[name]?.() ?? Promise.reject(new Error("no trial")),
    {
      timeout: 2 * patienceMs,
    },
  );
});

describe("other text inputs:", () => {
  test(
    "an empty line is a line; carriage returns inside one stay",
    async () => {
      expect(await sentLines("a\n\r\nb\rc\r\n")).toEqual(["a", "", "b\rc"]);
      const none = await ana.run(["send", await newRoom(), "--lines"], "");
      expect([none.code, none.stderr]).toEqual([0, "0 sent\n"]);
    },
    patienceMs,
  );

  test(
    "empty input is not sent, by any option",
    async () => {
      await refused(2, nothing, ["send", "ROOM", "-"]);
      await refused(2, nothing, ["send", "ROOM", "--file", "empty"]);
      await refused(2, nothing, ["send", "ROOM", "--file", "/dev/null"]);
      await refused(2, nothing, ["request", "ROOM", ""]);
      await refused(2, nothing, ["request", "ROOM", "-"]);
      await refused(1, /^error: empty is empty \(/, ["send", "ROOM", "look", "--attach", "empty"]);
      await refused(1, /^error: stdin is empty \(/, ["blob", "put", "ROOM", "-"]);
      await refused(1, /^error: folder is a folder \(/, ["blob", "put", "ROOM", "folder"]);
      await refused(1, /^error: folder is a folder \(/, ["send", "ROOM", "look", "--attach", "folder"]);
      await refused(1, /^error: no such file: missing \(/, ["blob", "put", "ROOM", "missing"]);
      // Its size says 0, and reading it fails.
      await refused(1, /^error: \/proc\/self\/mem cannot be read: EIO \(/, [
        "send",
        "ROOM",
        "--file",
        "/proc/self/mem",
      ]);
    },
    patienceMs,
  );

  test(
    "a pipe is accepted as a file",
    async () => {
      const subject = await newRoom();
      const bin = executable;
      expect(shell('"$1" send "$2" </dev/null', bin, subject)).toMatchObject({ code: 2, stdout: "" });
      expect(shell('"$1" send "$2" --file <(printf piped)', bin, subject)).toMatchObject({ code: 0, stderr: "" });
      expect(shell('"$1" blob put "$2" <(printf piped)', bin, subject)).toMatchObject({ code: 0, stderr: "" });
      expect(jsonLines(await ana.ok(["history", subject, "--json"]))).toMatchObject([{ text: "piped" }]);
    },
    patienceMs,
  );

  test("PEM files with a byte order mark are refused by name", async () => {
    using authority = new Authority();
    using folder = new Folder();
    const { cert, key } = authority.issue("one");
    writeFileSync(folder.file("tls.pem"), mark + readFileSync(cert, "utf8"));
    const done = await unibus(folder, ["serve", "--http", "127.0.0.1:0", "--tls-cert", "tls.pem", "--tls-key", key]);
    expect([done.code, done.stderr]).toEqual([
      1,
      expect.stringMatching(/^error: --tls-cert: tls\.pem begins with a byte order mark \(/),
    ]);
  });

  test(
    "chat accepts lines with CRLF",
    async () => {
      const subject = await newRoom();
      await ana.ok(["chat", subject], `${mark}one\r\n\r\ntwo\r\n`);
      expect(jsonLines(await ana.ok(["history", subject, "--json"])).map(({ text }) => text)).toEqual(["one", "two"]);
    },
    patienceMs,
  );

  test(
    "a command answers with all its output, even if it leaves processes behind; a late one is killed with its group",
    async () => {
      const subject = await newRoom();
      const pidFile = bob.folder.file("late");
      const script = `case $(cat) in big) head -c 700000 /dev/zero | tr '\\\\0' x; sleep 62 & ;;
      late) sleep 63 & echo $! > "${pidFile}"; wait ;; esac`;
      await using service = await answering(subject, ["--timeout", "5000"], "bash", "-c", script);
      expect((await ana.ok(["request", subject, "big", "--timeout", "30000"])).length).toBe(700_000);
      expect((await ana.run(["request", subject, "late", "--timeout", "8000"])).code).toBe(1);
      await until("the timeout is logged", () => service.stderr.includes("more than 5000 ms"));
      const pid = Number(readFileSync(pidFile, "utf8"));
      await until("its child process is ended", () => !isAlive(pid));
      expect(existsSync(pidFile)).toBe(true);
    },
    2 * patienceMs,
  );

  test(
    "a full disk behind stdout fails every command that prints",
    async () => {
      const bin = executable;
      for (const command of ["whoami", "version", "vectors", "rooms", "identity show"]) {
        await newRoom();
        const { code, stderr } = shell(`"$1" ${command} > /dev/full`, bin);
        expect([command, code, stderr]).toEqual([
          command,
          1,
          expect.stringMatching(/^error: cannot write to stdout: ENOSPC/),
        ]);
      }
    },
    patienceMs,
  );
});
