/**
 * The peer of examples/python-peer.py, which was written from docs/protocol, on a real bus: it reads what the SDK
 * writes and writes what the SDK reads, over a change of the key, and believes nothing that the owners did not sign.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Identity, identityText } from "../../src/client/crypto/identity.ts";
import { newRoomKey } from "../../src/client/crypto/keys.ts";
import { type Bus, connect, type Message, type Room } from "../../src/client/index.ts";
import { Folder, Server, until } from "../support/executable.ts";
import { HostileServer } from "../support/hostile-server.ts";
import { pythonWithNats } from "../support/installed.ts";
import { sealNow } from "../support/keys-now.ts";
import { addUser, dial, freshSubject, postUser } from "../support/peer.ts";

/** The most lines that the example may have. */
const linesMax = 120;
/** Timeout of a test, in milliseconds: longer than Python and the bus take on a busy machine. */
const patienceMs = 120_000;

const program = join(import.meta.dir, "..", "..", "examples", "python-peer.py");

let folder: Folder;
let server: Server;
let admin: Identity;
let ana: Bus;
let python: Awaited<ReturnType<typeof pythonWithNats>>;

beforeAll(async () => {
  folder = new Folder();
  python = await pythonWithNats();
  server = await Server.start({ proxied: true, args: ["--set", "http.rate=100000"] });
  admin = await addUser(server, "root", { admin: true });
  ana = await connect({ url: server.ready.http, identity: admin, state: "memory" });
}, 300_000);
afterAll(async () => {
  await ana[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

/** A room of ana's with one more member, who is the peer in Python. */
async function roomWith(
  name: string,
): Promise<{ readonly room: Room; readonly peer: Identity; readonly file: string }> {
  const peer = await postUser(server, admin, name);
  const file = folder.file(`${name}.json`);
  writeFileSync(file, identityText(peer), { mode: 0o600 });
  const room = await ana.createRoom(freshSubject(), "matrix");
  await room.membership.add(peer.endpoint);
  return { room, peer, file };
}

/** The program while it runs. */
class PythonPeer implements AsyncDisposable {
  readonly child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  stdout = "";
  stderr = "";

  constructor(url: string, file: string, subject: string, ...texts: readonly string[]) {
    const { PATH = "", HOME = "" } = process.env;
    this.child = Bun.spawn([python.python, "-u", program, url, file, subject, ...texts], {
      env: { PATH, HOME, ...python.env },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const read = async (stream: ReadableStream<Uint8Array>, take: (text: string) => void) => {
      const decoder = new TextDecoder();
      for await (const chunk of stream) take(decoder.decode(chunk, { stream: true }));
    };
    void read(this.child.stdout, (text) => {
      this.stdout += text;
    });
    void read(this.child.stderr, (text) => {
      this.stderr += text;
    });
  }

  get lines(): string[] {
    return this.stdout.split("\n").slice(0, -1);
  }

  /** Waits until it has printed a line. */
  async printed(line: string): Promise<void> {
    await until(
      `the Python peer prints ${line}`,
      () => this.lines.includes(line) || this.child.exitCode !== null,
      patienceMs / 2,
    );
    if (!this.lines.includes(line)) throw new Error(`it ended before "${line}": ${this.stdout}${this.stderr}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill("SIGKILL");
    await this.child.exited;
  }
}

test("the example is short", () => {
  const lines = readFileSync(program, "utf8").split("\n").slice(0, -1);
  expect(lines.length).toBeLessThanOrEqual(linesMax);
  expect(lines.filter((line) => line.length > 120)).toEqual([]);
});

test(
  "it reads the history and live messages of two keys, its messages are stored and verified, and junk is dropped",
  async () => {
    const { room, peer, file } = await roomWith("python");
    const got: Message[] = [];
    await room.onMessage((message) => got.push(message));
    await room.send("under the first key: ünïcödé 👋");
    await room.membership.rekey();
    await room.send("under the second key");
    const stock = await dial(server, admin);
    stock.publish(room.subject, "not a frame");
    await stock.drain();

    await using running = new PythonPeer(server.ready.http, file, room.subject, "hello from Python 👋", "again");
    await running.printed(`live ${peer.endpoint} text again`);
    const { messages, lastSeq } = await room.history();
    expect(running.lines.slice(0, 6)).toEqual([
      `rooms ${room.subject}`,
      `history ${admin.endpoint} text under the first key: ünïcödé 👋`,
      `history ${admin.endpoint} text under the second key`,
      "dropped not_canonical",
      `acked ${lastSeq - 1}`,
      `acked ${lastSeq}`,
    ]);
    const received = messages.slice(-2).map(({ from, text, verified }) => ({ from, text, verified }));
    const ofPeer = { from: peer.endpoint, verified: true };
    expect(received).toEqual([
      { ...ofPeer, text: "hello from Python 👋" },
      { ...ofPeer, text: "again" },
    ]);
    await until("the SDK has them live", () => got.filter(({ from }) => from === peer.endpoint).length === 2);

    await room.send("live");
    await running.printed(`live ${admin.endpoint} text live`);
    await room.send("five", { kind: "app.vote", hops: 1 });
    await running.printed(`live ${admin.endpoint} app.vote five`);
    // A member and an epoch that the program does not know yet.
    await room.membership.rekey();
    await room.send("under the third key");
    await running.printed(`live ${admin.endpoint} text under the third key`);
    expect(running.lines.filter((line) => line.startsWith("dropped"))).toEqual(["dropped not_canonical"]);
    expect(Object.keys(room.stats().dropped)).toEqual(["not_json"]);
  },
  patienceMs,
);

test(
  "it accepts no unsigned key, member or statement",
  async () => {
    const { room, peer, file } = await roomWith("doubting");
    await room.send("before");
    await using hostile = await HostileServer.start(server.ready.http);
    const lies: Readonly<Record<string, readonly [string, (json: Record<string, unknown[]>) => unknown]>> = {
      "room_forked: not the key that the owners signed": [
        "/key",
        () => ({ epoch: 1, sealed_key: sealNow(newRoomKey(), peer.kexPub) }),
      ],
      "not the members of the statement": [
        "/members",
        ({ members = [], ...rest }) => ({ ...rest, members: members.slice(1) }),
      ],
      "broken chain": [
        "/statements",
        ({ statements = [] }) => ({ statements: [statements[0], statements[0]], more: false }),
      ],
    };
    for (const [error, [path, lie]] of Object.entries(lies)) {
      hostile.alter(path, lie);
      await using running = new PythonPeer(hostile.url, file, room.subject, "sent to a liar");
      await until(`it ends because of ${path}`, () => running.child.exitCode !== null, patienceMs / 4);
      expect(running.child.exitCode).toBe(1);
      await until("its error is read", () => running.stderr.includes(error));
      expect(running.stdout).not.toContain("acked");
    }
    hostile.honest();
    await using running = new PythonPeer(hostile.url, file, room.subject);
    await running.printed(`history ${admin.endpoint} text before`);
  },
  patienceMs,
);
