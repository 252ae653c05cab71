/** A peer that represents one person's machine: a folder, an identity file, and the executable's command line. */
import { mkdirSync, writeFileSync } from "node:fs";
import { type Identity, identityText } from "../../src/client/crypto/identity.ts";
import { policyOf } from "../../src/client/rooms/modes.ts";
import { type Done, executable, Folder, type Server, unibus } from "./executable.ts";
import { createRoom, freshSubject, inviteMembers, postUser } from "./peer.ts";

/** Timeout of a wait for output, in milliseconds. */
const outputTimeoutMs = 20_000;
/** How often a condition is looked at that waits for more than output, in milliseconds. */
const lookEveryMs = 250;

/** A long-running command. Lives until the scope ends. */
export class Running implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "pipe">;
  readonly #read: Promise<unknown>;
  /** Settles when more output arrives, and at its end. */
  #next = Promise.withResolvers<void>();
  #isRead = false;
  stdout = "";
  stderr = "";

  constructor(folder: Folder, args: readonly string[], env: Readonly<Record<string, string>>) {
    const stdio = { stdin: "pipe", stdout: "pipe", stderr: "pipe" } as const;
    this.#child = Bun.spawn([executable, ...args], { cwd: folder.path, env, ...stdio });
    this.#read = Promise.all([
      collect(this.#child.stdout, (text) => {
        this.stdout += text;
        this.#wake();
      }),
      collect(this.#child.stderr, (text) => {
        this.stderr += text;
        this.#wake();
      }),
    ]);
    const ended = (): void => {
      this.#isRead = true;
      this.#wake();
    };
    void this.#read.then(ended, ended);
  }

  #wake(): void {
    this.#next.resolve();
    this.#next = Promise.withResolvers();
  }

  /** Waits until something holds. It is looked at whenever there is more output, and from time to time. */
  async #until(what: string, holds: () => boolean): Promise<void> {
    const end = performance.now() + outputTimeoutMs;
    for (let next = this.#next.promise; !holds(); next = this.#next.promise) {
      const code = this.#child.exitCode ?? this.#child.signalCode;
      if (code !== null && this.#isRead) throw new Error(`it ended with exit ${code} before: ${what}`);
      if (performance.now() > end) throw new Error(`not within ${outputTimeoutMs} ms: ${what}`);
      await Promise.race([next, Bun.sleep(lookEveryMs)]);
    }
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Its exit code, or that of the signal that ended it, once all output is read. */
  get exited(): Promise<number> {
    return Promise.all([this.#child.exited, this.#read]).then(([code]) => code);
  }

  /** The lines that it has printed so far. */
  get lines(): string[] {
    return this.stdout.split("\n").slice(0, -1);
  }

  /** Writes to its stdin. */
  write(text: string): void {
    this.#child.stdin.write(text);
    this.#child.stdin.flush();
  }

  /** Waits for lines on stdout. */
  async until(what: string, holds: (lines: string[]) => boolean): Promise<string[]> {
    try {
      await this.#until(what, () => holds(this.lines));
    } catch (error) {
      throw new Error(`${(error as Error).message}\nstdout: ${this.stdout}\nstderr: ${this.stderr}`);
    }
    return this.lines;
  }

  /** Waits for a note on stderr. */
  async untilNote(note: string): Promise<void> {
    await this.#until(`${note}: ${this.stderr}`, () => this.stderr.includes(note));
  }

  /** Closes its stdin or sends a signal. Returns its exit code once all output is read. */
  async end(by: "SIGINT" | "SIGTERM" | "eof" = "SIGINT"): Promise<number> {
    if (by === "eof") await this.#child.stdin.end();
    else this.#child.kill(by);
    const code = await this.#child.exited;
    await this.#read;
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null) this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}

async function collect(stream: ReadableStream<Uint8Array>, take: (text: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  for await (const chunk of stream) take(decoder.decode(chunk, { stream: true }));
}

/** How a room differs from an encrypted one below `room`. */
export interface RoomOptions {
  readonly mode?: Parameters<typeof policyOf>[0] | undefined;
  readonly namespace?: string;
}

/** A user of a server with their own folder, which holds the identity file at its default path. */
export class CliPeer implements Disposable {
  readonly folder = new Folder();
  readonly env: Readonly<Record<string, string>>;

  constructor(
    readonly server: Server,
    readonly identity: Identity,
    readonly handle: string,
  ) {
    mkdirSync(this.folder.file(".config", "unibus"), { recursive: true });
    writeFileSync(this.folder.file(".config", "unibus", "identity.json"), identityText(identity), { mode: 0o600 });
    this.env = { UNIBUS_URL: server.ready.http };
  }

  /** Creates a user and their folder. */
  static async join(server: Server, admin: Identity, handle: string): Promise<CliPeer> {
    return new CliPeer(server, await postUser(server, admin, handle), handle);
  }

  /** Creates a room of this peer, without a process of its own, and adds others to it. Returns its subject. */
  async room(
    others: readonly CliPeer[] = [],
    { mode = "matrix", namespace = "room" }: RoomOptions = {},
  ): Promise<string> {
    const subject = freshSubject(namespace);
    const room = await createRoom(this.server, this.identity, policyOf(mode), subject);
    if (others.length > 0) await inviteMembers(this.server, room, ...others.map(({ identity }) => identity));
    return subject;
  }

  /** Runs a command to its end. */
  run(args: readonly string[], stdin = ""): Promise<Done> {
    return unibus(this.folder, args, { env: { ...this.env }, stdin });
  }

  /** Runs a command that must succeed. Returns its stdout. */
  async ok(args: readonly string[], stdin = ""): Promise<string> {
    const { code, stdout, stderr } = await this.run(args, stdin);
    if (code !== 0) throw new Error(`unibus ${args.join(" ")}: exit ${code}, ${stderr}`);
    return stdout;
  }

  /** Runs a command with `--json` that must fail, and print only its error. Returns that, and the exit code. */
  async failure(args: readonly string[]): Promise<{ exit: number; error: string; code: string }> {
    const { code: exit, stdout, stderr } = await this.run([...args, "--json"]);
    const last = stderr.trim().split("\n").at(-1) ?? "";
    if (exit === 0 || stdout !== "") throw new Error(`unibus ${args.join(" ")}: exit ${exit}, ${stdout}${stderr}`);
    return { exit, ...(JSON.parse(last) as { error: string; code: string }) };
  }

  /** Starts a long-running command. */
  start(args: readonly string[]): Running {
    const { path } = this.folder;
    const home = { PATH: process.env.PATH ?? "", HOME: path, XDG_CONFIG_HOME: `${path}/.config`, NO_COLOR: "1" };
    return new Running(this.folder, args, { ...home, ...this.env });
  }

  [Symbol.dispose](): void {
    this.folder[Symbol.dispose]();
  }
}

/** Parses one JSON object per line. */
export function jsonLines(text: string): Record<string, unknown>[] {
  const lines = text.split("\n").filter(Boolean);
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}
