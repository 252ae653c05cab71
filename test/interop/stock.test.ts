/**
 * Stock NATS clients, with the programs of docs/by-hand.md run exactly as printed. Each program logs in by nkey, sets
 * the inbox prefix, publishes, sends requests, skips the PubAck, and reconnects after nats-server was killed.
 * Source: docs/protocol/logins.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Identity, identityText } from "../../src/client/crypto/identity.ts";
import { connect } from "../../src/client/index.ts";
import { Folder, Server, unibus, until } from "../support/executable.ts";
import { build, installed, pythonWithNats, tool } from "../support/installed.ts";
import { programsOf } from "../support/pages.ts";
import { addUser, call, freshSubject, postUser } from "../support/peer.ts";

const root = join(import.meta.dir, "..", "..");
/** Longer than a client takes to notice and log in again on a busy machine, in milliseconds. */
const patienceMs = 120_000;
/** Timeout for downloads and builds on the first run, in milliseconds. */
const setupMs = 600_000;

let folder: Folder;
let python: Readonly<Record<string, string>>;
let classPath: string;

/** Builds the Go client's program, with its modules pinned by the go.sum of the Go peer. */
async function buildGo(): Promise<void> {
  const modules = join(root, "test", "interop", "go");
  mkdirSync(folder.file("go"));
  for (const name of ["go.mod", "go.sum"]) copyFileSync(join(modules, name), folder.file(join("go", name)));
  copyFileSync(folder.file("ask.go"), folder.file(join("go", "ask.go")));
  const command = [
    tool("go", "Go 1.24 or newer"),
    "build",
    "-mod=readonly",
    "-trimpath",
    "-o",
    folder.file("ask"),
    ".",
  ];
  await build(command, folder.file("go"));
}

/** Installs the Java client's jars; returns the folder. */
function installJava(): Promise<string> {
  const pom = join(import.meta.dir, "java", "pom.xml");
  const copy = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
  const mvn = [tool("mvn", "Maven and Java 17 or newer"), "-q", "-B", "-f", pom, copy];
  return installed("java", pom, (into) => build([...mvn, `-DoutputDirectory=${into}`], root));
}

beforeAll(async () => {
  folder = new Folder();
  for (const [name, text] of programsOf("by-hand.md")) writeFileSync(folder.file(name), text);
  symlinkSync(join(root, "node_modules"), folder.file("node_modules"));
  const [{ env }, jars] = await Promise.all([pythonWithNats(), installJava(), buildGo()]);
  python = env;
  classPath = join(jars, "*");
}, setupMs);
afterAll(() => folder[Symbol.dispose]());

/** A long-running program of the page, as one user. Disposing it stops the program. */
class Program implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "pipe">;
  #stdout = "";
  #stderr = "";

  constructor(command: readonly string[], env: Readonly<Record<string, string>>) {
    const { PATH = "", HOME = "" } = process.env;
    const all = { PATH, HOME, ...env };
    const stdio = { stdin: "pipe", stdout: "pipe", stderr: "pipe" } as const;
    this.#child = Bun.spawn([...command], { cwd: folder.path, env: all, ...stdio });
    const decode = async (stream: ReadableStream<Uint8Array>, take: (text: string) => void) => {
      const decoder = new TextDecoder();
      for await (const chunk of stream) take(decoder.decode(chunk, { stream: true }));
    };
    void decode(this.#child.stdout, (text) => {
      this.#stdout += text;
    });
    void decode(this.#child.stderr, (text) => {
      this.#stderr += text;
    });
  }

  get lines(): string[] {
    return this.#stdout.split("\n").slice(0, -1);
  }

  write(line: string): void {
    this.#child.stdin.write(`${line}\n`);
    this.#child.stdin.flush();
  }

  /** Waits until the program has printed this line. */
  async printed(line: string): Promise<void> {
    const isOver = () => this.#child.exitCode !== null;
    await until(`${line} (stderr: ${this.#stderr})`, () => isOver() || this.lines.includes(line), patienceMs);
    if (!this.lines.includes(line)) throw new Error(`it ended before "${line}": ${this.#stdout}${this.#stderr}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}

/** Writes a user's identity and nkey where the programs look for them. */
async function settle(who: string, identity: Identity): Promise<void> {
  writeFileSync(folder.file(`${who}.json`), identityText(identity), { mode: 0o600 });
  const nkey = ["identity", "nkey", "--identity", `${who}.json`, "--out", `${who}.nk`];
  expect((await unibus(folder, nkey)).code).toBe(0);
}

const clients: Readonly<Record<string, () => readonly string[]>> = {
  "nats.js": () => [tool("node", "Node 20 or newer"), "ask.mjs"],
  "nats.go": () => [folder.file("ask")],
  "nats-py": () => [tool("python3", "Python 3.9 or newer"), "ask.py"],
  jnats: () => [tool("java", "Java 17 or newer"), "-cp", classPath, "ask.java"],
};

test(
  "nats.js, nats.go, nats-py and jnats publish, send requests, and reconnect after nats-server was killed",
  async () => {
    await using server = await Server.start({ args: ["--set", "http.rate=100000"] });
    const admin = await addUser(server, "root", { admin: true });
    const { http, nats } = server.ready;
    const env = { UNIBUS_URL: http };
    const bob = await postUser(server, admin, "bob");
    await settle("bob", bob);
    await using owner = await connect({ url: http, identity: admin, state: "memory" });
    const subject = freshSubject();
    const room = await owner.createRoom(subject, { encrypt: false, persist: true, sign_msgs: false });
    const names = Object.keys(clients);
    const users = await Promise.all(names.map((name) => postUser(server, admin, `user of ${name}`)));
    for (const [index, identity] of users.entries()) {
      await settle(`user${index}`, identity);
      await room.membership.add(identity.endpoint);
      expect((await call(http, identity, "PUT", `/rooms/${room.id}/accept`)).status).toBe(204);
    }
    await room.membership.add(bob.endpoint);
    await using accepting = new Program([tool("node", "Node 20 or newer"), "accept.mjs", subject], {
      ...env,
      WHO: "bob",
    });
    await accepting.printed("{ status: 204, body: '' }");
    await using answering = new Program([tool("node", "Node 20 or newer"), "answer.mjs", nats, subject], {
      ...env,
      WHO: "bob",
    });
    await answering.printed("answering");

    await using stack = new AsyncDisposableStack();
    const asking = names.map((name, index) => {
      const command = clients[name]?.() ?? [];
      return stack.use(new Program([...command, nats, subject], { ...env, ...python, WHO: `user${index}` }));
    });
    for (const round of ["first", "second"]) {
      asking.forEach((program, index) => void program.write(`${round} of ${names[index]}`));
      await Promise.all(asking.map((program, index) => program.printed(`${round} of ${names[index]}`.toUpperCase())));
      if (round === "first") process.kill(server.ready.nats_pid, "SIGKILL");
    }
    // A question that timed out was asked again, but each answer is printed only once.
    for (const { lines } of asking) expect(lines).toHaveLength(2);
    const { messages } = (await call(http, admin, "GET", `/rooms/${room.id}/history`)).json as { messages: string[] };
    const kept = new Set(messages.map((one) => Buffer.from(one, "base64").toString()));
    const asked = ["first", "second"].flatMap((round) => names.map((name) => `${round} of ${name}`));
    expect([...kept].sort()).toEqual(asked.sort());
  },
  patienceMs + 60_000,
);
