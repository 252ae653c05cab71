/** A peer that represents one person's machine: a folder, an identity file, and the executable's command line. */
import { mkdirSync, writeFileSync } from "node:fs";
import { type Identity, identityText } from "../../src/client/crypto/identity.ts";
import { type Done, executable, Folder, type Server, unibus, until } from "./executable.ts";
import { postUser } from "./peer.ts";

/** A long-running command. Lives until the scope ends. */
export class Running implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "pipe">;
  readonly #read: Promise<unknown>;
  stdout = "";
  stderr = "";

  constructor(folder: Folder, args: readonly string[], env: Readonly<Record<string, string>>) {
    const stdio = { stdin: "pipe", stdout: "pipe", stderr: "pipe" } as const;
    this.#child = Bun.spawn([executable, ...args], { cwd: folder.path, env, ...stdio });
    this.#read = Promise.all([
      collect(this.#child.stdout, (text) => {
        this.stdout += text;
      }),
      collect(this.#child.stderr, (text) => {
        this.stderr += text;
      }),
    ]);
  }

  get pid(): number {
    return this.#child.pid;
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
      await until(what, () => this.#child.exitCode !== null || holds(this.lines));
      if (!holds(this.lines)) throw new Error(`it ended with exit ${this.#child.exitCode} before: ${what}`);
    } catch (error) {
      throw new Error(`${(error as Error).message}\nstdout: ${this.stdout}\nstderr: ${this.stderr}`);
    }
    return this.lines;
  }

  /** Waits for a note on stderr. */
  async untilNote(note: string): Promise<void> {
    await until(note, () => this.#child.exitCode !== null || this.stderr.includes(note));
    if (!this.stderr.includes(note)) throw new Error(`it ended with exit ${this.#child.exitCode}: ${this.stderr}`);
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

/** A user of a server with their own folder, which holds the identity file at its default path. */
export class CliPeer implements Disposable {
  readonly folder = new Folder();
  readonly env: Readonly<Record<string, string>>;

  constructor(
    server: Server,
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
