/**
 * The programs of examples/unibus_peer.py, which was written from docs/protocol, on a real bus. The peer reads what
 * the SDK writes and writes what the SDK reads, over a change of the key, and believes nothing that the owners did not
 * sign. The bot answers each text once, over lost connections and acknowledgements.
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
import { blocksOf, linesIn } from "../support/pages.ts";
import { addUser, dial, freshSubject, postUser } from "../support/peer.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";

/** The most lines that each example may have. */
const linesMax = { "python-peer.py": 25, "python-bot.py": 60, "unibus_peer.py": 176 };
/** Timeout of a test, in milliseconds: longer than Python and the bus take on a busy machine. */
const patienceMs = 120_000;

const root = join(import.meta.dir, "..", "..");
const textOf = (name: string) => readFileSync(join(root, ...name.split("/")), "utf8");
const program = (name: keyof typeof linesMax) => join(root, "examples", name);

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

/** A program while it runs: its file, and its arguments. */
class PythonProgram implements AsyncDisposable {
  readonly child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  stdout = "";
  stderr = "";

  constructor(...words: readonly string[]) {
    const { PATH = "", HOME = "" } = process.env;
    this.child = Bun.spawn([python.python, "-u", ...words], {
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
      `the program prints ${line}`,
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

const peerOf = (...words: readonly string[]) => new PythonProgram(program("python-peer.py"), ...words);

test.each(Object.entries(linesMax))("examples/%s has at most %d lines", (name, most) => {
  const lines = textOf(`examples/${name}`).split("\n").slice(0, -1);
  expect(lines.length).toBeLessThanOrEqual(most);
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

    await using running = peerOf(server.ready.http, file, room.subject, "hello from Python 👋", "again");
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
      await using running = peerOf(hostile.url, file, room.subject, "sent to a liar");
      await until(`it ends because of ${path}`, () => running.child.exitCode !== null, patienceMs / 4);
      expect(running.child.exitCode).toBe(1);
      await until("its error is read", () => running.stderr.includes(error));
      expect(running.stdout).not.toContain("acked");
    }
    hostile.honest();
    await using running = peerOf(hostile.url, file, room.subject);
    await running.printed(`history ${admin.endpoint} text before`);
  },
  patienceMs,
);

/** The bot on docs/bots-and-pages.md: its text, and the two commands that install and run it. */
const page = blocksOf("bots-and-pages.md");
const [install = "", run = ""] = page.filter(({ kind }) => kind === "sh python").flatMap(linesIn);

test("docs/bots-and-pages.md shows the whole bot, and installs what CI installs", () => {
  expect(page.filter(({ kind }) => kind === "py").map(({ text }) => text)).toEqual([textOf("examples/python-bot.py")]);
  const [, packages = ""] = /^python3 -m venv venv && venv\/bin\/pip install ([\w -]+)$/.exec(install) ?? [];
  const pinned = textOf("test/interop/python/requirements.txt");
  expect(packages.split(" ")).toEqual(["PyNaCl", "nats-py"]);
  expect(packages.split(" ").filter((name) => !pinned.includes(`\n${name}==`))).toEqual([]);
});

test(
  "the bot answers each text once, over lost connections and acknowledgements, and neither itself nor bots for ever",
  async () => {
    const { room, peer, file } = await roomWith("bot");
    await using hostile = await HostileServer.start(server.ready.http);
    // Set: the line is cut where an answer passes, or its acknowledgement, with which the bus has stored it.
    let cutsAt: "answer" | "acknowledgement" | null = null;
    await using line = await TcpProxy.start(server.ready.nats, (link) => {
      const cut = (where: typeof cutsAt, bytes: Buffer, word: string): Buffer => {
        if (cutsAt !== where || !bytes.includes(word)) return bytes;
        cutsAt = null;
        link.cut();
        return Buffer.alloc(0);
      };
      return {
        fromServer: (bytes) => cut("acknowledgement", bytes, `_INBOX.${peer.endpoint}.a.`),
        fromClient: (bytes) => cut("answer", bytes, `HPUB ${room.subject} `),
      };
    });
    hostile.nats = ["nats://127.0.0.1:1", `nats://127.0.0.1:${line.port}`];
    const answers = new Map<string | null, Message[]>();
    await room.onMessage((message) => {
      const { from, replyTo } = message;
      if (from === peer.endpoint) answers.set(replyTo, [...(answers.get(replyTo) ?? []), message]);
    });
    const answer = async (id: string): Promise<Message | undefined> => {
      await until(`the bot answers ${id}`, () => answers.has(id), patienceMs / 4);
      return answers.get(id)?.[0];
    };
    await room.send("said before the bot ran");

    const [python3, bot, url, ...words] = run.split(" ");
    expect([python3, bot, ...words]).toEqual(["venv/bin/python", "python-bot.py", "counter.json", "room.team"]);
    expect(url).toStartWith("http://127.0.0.1:");
    await using running = new PythonProgram(program("python-bot.py"), hostile.url, file, room.subject);
    await running.printed(`answering in ${room.subject}`);

    const first = await room.send("one two three");
    expect(await answer(first.id)).toMatchObject({ text: "3 words", thread: first.id, hops: 1, verified: true });
    const second = await room.send("in a thread", { thread: first.id, replyTo: first.id });
    expect(await answer(second.id)).toMatchObject({ text: "3 words", thread: first.id, hops: 1 });
    const last = await room.send("the seventh of two bots", { hops: 7 });
    expect(await answer(last.id)).toMatchObject({ hops: 8 });
    await room.send("the eighth", { hops: 8 });
    await room.send("not a text", { kind: "app.vote" });

    cutsAt = "acknowledgement";
    const unacknowledged = await room.send("the acknowledgement of whose answer is lost");
    await until("the bot is back", () => running.lines.filter((text) => text.startsWith("answering")).length === 2);
    cutsAt = "answer";
    const unanswered = await room.send("whose first answer is lost");
    await answer(unanswered.id);
    line.isRefusing = true;
    line.cutAll();
    const missed = await room.send("while it is away");
    await room.membership.rekey();
    const rekeyed = await room.send("under a key that it does not know");
    line.isRefusing = false;
    await answer(missed.id);
    await answer(rekeyed.id);
    const live = await room.send("and live again");
    await answer(live.id);

    const asked = [first, second, last, unacknowledged, unanswered, missed, rekeyed, live].map(({ id }) => id);
    expect([...answers.keys()].sort()).toEqual([...asked].sort());
    expect([...answers.values()].filter((several) => several.length > 1)).toEqual([]);
    // The answers are one chain, in which the lost one is declared.
    await until("nothing is missing", () => room.integrity.state === "whole", patienceMs / 4);
    const places = [...answers.values()].flatMap(([{ header } = {} as Message]) => header?.chain ?? []);
    expect(new Set(places.map(({ id }) => id)).size).toBe(1);
    expect(places.map(({ n }) => n).sort()).toEqual([0, 1, 2, 3, 5, 6, 7, 8]);

    await room.membership.kick(peer.endpoint);
    await until("it ends when it is removed", () => running.child.exitCode !== null, patienceMs / 4);
    expect(running.child.exitCode).toBe(1);
    await until("its error is read", () => running.stderr.includes("not a member"));
  },
  patienceMs,
);
