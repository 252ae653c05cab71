/**
 * Runs the compiled executable as users do: as a child process with a data directory and sockets. `unibus` runs one
 * command to its end; `Server` runs `unibus serve` on free loopback ports until its scope ends; `until` polls for a
 * condition. Nearly all end-to-end tests use this file.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { notePublicName } from "./host-to-sign.ts";
import { ProxyPorts } from "./proxy-ports.ts";

/**
 * How often `until` looks: at first every few milliseconds, then less often, so that a long wait neither costs much CPU
 * nor ends more than a tenth too late.
 */
const pollMs = { first: 5, most: 25, share: 0.1 } as const;
const readyTimeoutMs = 30_000;
const stopTimeoutMs = 15_000;

/** The executable that `npm test` built, or the one in dist. */
export const executable = process.env.UNIBUS_TEST_BIN || resolve(import.meta.dir ?? ".", "../../dist/unibus");

/**
 * Returns the command line of the executable. Tests that only import helpers from this file do not need the executable.
 */
function command(args: readonly string[]): string[] {
  if (!existsSync(executable)) throw new Error("dist/unibus is missing: run `npm run build` first");
  return [executable, ...args];
}

/** Waits for a condition. Throws, naming it, if it does not hold in time. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, timeoutMs = 20_000): Promise<void> {
  const began = performance.now();
  while (!(await holds())) {
    const waitedMs = performance.now() - began;
    if (waitedMs > timeoutMs) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await Bun.sleep(Math.min(pollMs.most, Math.max(pollMs.first, waitedMs * pollMs.share)));
  }
}

/** Returns the text of a file that another process makes and removes, or null if it does not exist. */
export function textIn(file: string): string | null {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as { code?: unknown }).code === "ENOENT") return null;
    throw error;
  }
}

/** Reports whether a process exists and is not a zombie. */
export function isAlive(pid: number): boolean {
  try {
    return !"ZX".includes(readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /s, "")[0] ?? "X");
  } catch {
    return false;
  }
}

/** The result of a command: exit code and output. */
export interface Done {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A temporary folder that is removed when the scope ends. */
export class Folder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "unibus-test-"));

  file(...names: string[]): string {
    return join(this.path, ...names);
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

const environment = (home: string, extra: Record<string, string>): Record<string, string> => ({
  PATH: process.env.PATH ?? "",
  HOME: home,
  XDG_CONFIG_HOME: join(home, ".config"),
  NO_COLOR: "1",
  ...extra,
});

/** Runs the executable once in a folder, with only PATH from this process's environment. */
export async function unibus(
  folder: Folder,
  args: readonly string[],
  options: { readonly env?: Record<string, string>; readonly stdin?: string } = {},
): Promise<Done> {
  const child = Bun.spawn(command(args), {
    cwd: folder.path,
    env: environment(folder.path, options.env ?? {}),
    stdin: new TextEncoder().encode(options.stdin ?? ""),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, stdout, stderr };
}

/** The nats-server that the executable carries, as the build found it. */
const carried = resolve(import.meta.dir ?? ".", "../../.cache/nats-server");

/**
 * Puts nats-server into a data directory as an earlier start would have left it: unpacking it is a quarter of the work
 * of a first start. The executable unpacks its own if it does not know this one.
 */
export function layNatsServer(data: string): void {
  const manifest = textIn(join(carried, "nats-server.json"));
  if (manifest === null || existsSync(join(data, "nats"))) return;
  const { sha256 } = JSON.parse(manifest) as { readonly sha256: string };
  const { size, mtimeMs, ctimeMs, ino } = statSync(join(carried, "nats-server"));
  const folder = join(data, "nats", "bin");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, `nats-server-${sha256.slice(0, 16)}`);
  symlinkSync(join(carried, "nats-server"), file);
  writeFileSync(`${file}.stamp`, JSON.stringify({ sha256, size, mtimeMs, ctimeMs, ino }), { mode: 0o600 });
}

/** The contents of `ready.json`. */
export interface Ready {
  readonly pid: number;
  readonly version: string;
  readonly http: string;
  readonly nats: string;
  readonly ws: string;
  readonly nats_pid: number;
  readonly public_url?: string;
}

/** A running `unibus serve` on free loopback ports. Lives until the scope ends. */
export class Server implements AsyncDisposable {
  readonly folder: Folder;
  readonly #ownsFolder: boolean;
  #child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  #output: Promise<[string, string]>;
  ready: Ready;

  private constructor(folder: Folder, ownsFolder: boolean, child: Bun.Subprocess<"ignore", "pipe", "pipe">) {
    this.folder = folder;
    this.#ownsFolder = ownsFolder;
    this.#child = child;
    this.#output = Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    this.ready = { pid: 0, version: "", http: "", nats: "", ws: "", nats_pid: 0 };
  }

  /** The data directory. */
  get data(): string {
    return this.folder.file("data");
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** The pid of its nats-server, which changes when that is restarted. */
  get natsPid(): number {
    return Number(textIn(join(this.data, "nats", "nats.pid")) || this.ready.nats_pid);
  }

  /** Resolves with the exit code. */
  get exited(): Promise<number> {
    return this.#child.exited;
  }

  /** Starts a server and waits until it is ready. A given folder is kept; its own folder is removed with the server. */
  static async start(
    options: {
      readonly folder?: Folder;
      readonly args?: readonly string[];
      readonly env?: Record<string, string>;
      /** False if another program runs its NATS. */
      readonly carriesNats?: boolean;
      /**
       * Whether `HostileServer` and `TcpProxy` may run in front of it: it then accepts signatures for their addresses.
       */
      readonly proxied?: boolean;
      /** Whether it unpacks its nats-server itself, as the first start on a data directory does. */
      readonly unpacks?: boolean;
      /** How long it may take to become ready, in milliseconds. */
      readonly readyWithinMs?: number;
      /** The command that runs it, in place of the executable itself. */
      readonly command?: readonly string[];
    } = {},
  ): Promise<Server> {
    const folder = options.folder ?? new Folder();
    const isFirst = !existsSync(folder.file("data"));
    if (isFirst && options.carriesNats !== false && options.unpacks !== true) layNatsServer(folder.file("data"));
    const proxies = options.proxied === true ? new ProxyPorts() : null;
    const args = [...(proxies?.args ?? []), ...(options.args ?? [])];
    const listeners = options.carriesNats === false ? ["--http"] : ["--http", "--nats", "--ws"];
    const free = listeners.filter((name) => !args.includes(name));
    const own = ["serve", "--data", folder.file("data"), ...free.flatMap((name) => [name, "127.0.0.1:0"])];
    const child = Bun.spawn([...(options.command ?? command([])), ...own, ...args], {
      cwd: folder.path,
      env: environment(folder.path, options.env ?? {}),
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const server = new Server(folder, options.folder === undefined, child);
    const file = folder.file("data", "ready.json");
    const read = (): Ready | null => {
      const ready = JSON.parse(textIn(file) ?? "null") as Ready | null;
      return ready?.pid === child.pid ? ready : null;
    };
    try {
      await until(
        "ready.json exists",
        () => child.exitCode !== null || read() !== null,
        options.readyWithinMs ?? readyTimeoutMs,
      );
    } catch (error) {
      child.kill("SIGKILL");
      throw new Error(`${(error as Error).message}: ${(await server.output()).stderr}`);
    }
    const ready = read();
    if (ready === null) {
      const { stderr } = await server.output();
      throw new Error(`serve ended with exit ${child.exitCode}: ${stderr}`);
    }
    server.ready = ready;
    notePublicName(ready);
    proxies?.serve(ready.http, ready.nats, ready.ws);
    return server;
  }

  /** Everything that it printed. Resolves when it has ended. */
  async output(): Promise<{ stdout: string; stderr: string }> {
    const [stdout, stderr] = await this.#output;
    return { stdout, stderr };
  }

  /** Ends it by a signal and returns its exit code. */
  async end(signal: "SIGTERM" | "SIGINT" | "SIGKILL" = "SIGTERM"): Promise<number> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill(signal);
    const late = Bun.sleep(stopTimeoutMs).then(() => this.#child.kill("SIGKILL"));
    const code = await this.#child.exited;
    void late;
    return code;
  }

  /** Stops it in order if its folder outlives it. What it wrote to its own folder is removed, so it is only killed. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.end(this.#ownsFolder ? "SIGKILL" : "SIGTERM");
    if (this.ready.nats_pid > 1) await until("nats-server ended", () => !isAlive(this.ready.nats_pid));
    if (this.#ownsFolder) this.folder[Symbol.dispose]();
  }
}
