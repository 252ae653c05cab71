/**
 * Supervises the nats-server process: start, watch, restart after a crash with backoff, stop last.
 * The configuration is written before each start. nats-server reports its ports in a file, and a restart keeps them.
 * Only one instance runs on a data directory: process.json identifies it, so that the next start can end the orphan of
 * a crash (and only that process). On Linux the kernel ends it when unibus dies (launch.ts). index.ts uses this.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import type { Log } from "../../contracts/plugin.ts";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";
import { launchCommand } from "./launch.ts";
import { isRunning, readRecord, recordOf } from "./process-record.ts";
import { type Exit, ServerOutput } from "./server-output.ts";
import { StartProgress } from "./start-progress.ts";

/** How long nats-server may make no progress until it listens, in milliseconds. */
const startTimeoutMs = 20_000;
/** How long nats-server may take to exit after SIGTERM, in milliseconds. */
const stopTimeoutMs = 5_000;
/** Restart backoff: the first pause, doubled up to the maximum, in milliseconds. */
const restartPauseMs = { first: 25, most: 2_000 } as const;
/** How often it is looked whether nats-server listens, in milliseconds: less often once that takes longer. */
const pollMs = { first: 2, later: 25, laterAfter: 500 } as const;

/** The ports of a nats-server, from its own report. */
export interface Ports {
  readonly nats: number;
  readonly ws: number;
}

/** The inputs of a supervised nats-server. */
export interface ProcessOptions {
  readonly binary: string;
  readonly folder: string;
  /** JetStream's folder. */
  readonly storeDir: string;
  /**
   * Returns the configuration's text. `ports` are those of the previous start, so that a restart keeps its addresses.
   */
  readonly config: (ports: Ports | null) => string;
  readonly log: Log;
  /** Receives each line that nats-server logs. */
  readonly onLine?: (line: string) => void;
  /** Called with the new pid each time a restarted nats-server listens. */
  readonly onRestart?: (pid: number) => void;
  /** Hears how far a start is that has streams to restore, safe to show. */
  readonly onProgress?: (detail: string) => void;
  /** How long a start may make no progress, in milliseconds, where that is not the usual time. */
  readonly startTimeoutMs?: number;
}

/** The folder in which nats-server reports its ports. */
export function portsFolder(folder: string): string {
  return join(folder, "ports");
}

/** Waits until something holds, as long as `isOver` says no. Gives whether it holds. */
async function untilOver(holds: () => boolean, isOver: () => boolean): Promise<boolean> {
  const later = performance.now() + pollMs.laterAfter;
  while (!holds()) {
    if (isOver()) return false;
    await Bun.sleep(performance.now() < later ? pollMs.first : pollMs.later);
  }
  return true;
}

function until(holds: () => boolean, timeoutMs: number): Promise<boolean> {
  const end = performance.now() + timeoutMs;
  return untilOver(holds, () => performance.now() > end);
}

/** Keeps one nats-server running. */
export class NatsProcess {
  readonly #options: ProcessOptions;
  readonly #configFile: string;
  readonly #pidFile: string;
  readonly #recordFile: string;
  #child: Bun.Subprocess<"ignore", "ignore", "pipe"> | null = null;
  #ports: Ports | null = null;
  #stopping = false;
  #restarting = false;
  #restartPauseMs: number = restartPauseMs.first;
  #fault: string | null = "nats-server is starting";
  #loggedFault = "";
  /** Why unibus itself ends it, so that it starts again. */
  #restartReason: string | null = null;

  constructor(options: ProcessOptions) {
    this.#options = options;
    this.#configFile = join(options.folder, "nats.conf");
    this.#pidFile = join(options.folder, "nats.pid");
    this.#recordFile = join(options.folder, "process.json");
  }

  /** The pid, or null while it is not running. */
  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  /** Why it does not serve now, safe to show; null while it listens. */
  get fault(): string | null {
    return this.#fault;
  }

  /** The ports, or null before the first start. */
  get ports(): Ports | null {
    return this.#ports;
  }

  /** Starts it and waits until it listens. Errors: unavailable, with nats-server's own message. */
  async start(): Promise<Ports> {
    mkdirSync(portsFolder(this.#options.folder), { recursive: true, mode: 0o700 });
    await this.#endOrphan();
    return this.#run();
  }

  /** Ends it in order, so that it starts again. `why` is for the log. */
  restart(why: string): void {
    this.#restartReason = why;
    this.#child?.kill("SIGTERM");
  }

  /** Sends it a signal if it is running. */
  signal(name: "SIGHUP"): void {
    this.#child?.kill(name);
  }

  /** Stops it with SIGTERM, then SIGKILL. */
  async stop(): Promise<void> {
    this.#stopping = true;
    const child = this.#child;
    if (child === null) return;
    child.kill("SIGTERM");
    if (!(await until(() => this.#child === null, stopTimeoutMs))) child.kill("SIGKILL");
    await child.exited;
    for (const file of [this.#pidFile, this.#recordFile]) rmSync(file, { force: true });
  }

  /** Ends a nats-server that survived a kill -9 of unibus, and no process but that one. */
  async #endOrphan(): Promise<void> {
    const record = readRecord(this.#recordFile);
    if (record === null || !isRunning(record)) return;
    const { pid } = record;
    this.#options.log.warn("stopping the nats-server that a crashed unibus left running", { pid });
    const end = (signal: "SIGTERM" | "SIGKILL") => isRunning(record) && process.kill(pid, signal);
    end("SIGTERM");
    if (!(await until(() => !isRunning(record), stopTimeoutMs))) end("SIGKILL");
    await until(() => !isRunning(record), stopTimeoutMs);
  }

  async #run(): Promise<Ports> {
    const { folder, binary, config } = this.#options;
    const ports = portsFolder(folder);
    for (const file of readdirSync(ports)) rmSync(join(ports, file), { force: true });
    writeFileSync(this.#configFile, config(this.#ports), { mode: 0o600 });
    const child = Bun.spawn(command([binary, "-c", this.#configFile]), {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
      // Ctrl-C goes to the foreground process group. Detached, nats-server stays up for the drain.
      detached: true,
      env: {},
      onExit: (ended, code, signal) => void this.#ended(ended.pid, output, { code, signal: signalName(signal) }),
    });
    child.unref();
    this.#child = child;
    const progress = this.#progressOf(child.pid);
    const output = new ServerOutput(child.stderr, (line) => {
      this.#options.log.debug(line);
      progress.see(line);
      this.#options.onLine?.(line);
    });
    this.#keepRecord(child.pid);
    let said: Ports | null = null;
    const isSettled = () => {
      said = readPorts(ports, child.pid);
      return said !== null || this.#child !== child;
    };
    const isInTime = await untilOver(isSettled, () => progress.isOver());
    progress.end();
    if (said === null) {
      child.kill("SIGKILL");
      throw startError(isInTime ? await output.whyNotStarted() : progress.fault);
    }
    this.#ports = said;
    this.#fault = null;
    this.#loggedFault = "";
    this.#restartPauseMs = restartPauseMs.first;
    return said;
  }

  #progressOf(pid: number): StartProgress {
    const { storeDir, startTimeoutMs: timeoutMs = startTimeoutMs, onProgress } = this.#options;
    const report = (detail: string): void => {
      this.#fault = detail;
      onProgress?.(detail);
    };
    return new StartProgress({ timeoutMs, pid, storeDir, onProgress: report });
  }

  #keepRecord(pid: number): void {
    const record = recordOf(pid, this.#options.binary);
    writeFileSync(this.#pidFile, String(pid), { mode: 0o600 });
    writeFileSync(this.#recordFile, JSON.stringify(record), { mode: 0o600 });
  }

  async #ended(pid: number, output: ServerOutput, exit: Exit): Promise<void> {
    if (this.#child?.pid !== pid) return;
    this.#child = null;
    this.#fault ??= "nats-server ended and is being restarted";
    // Before the first successful start there is nothing to restart: the start itself fails.
    if (this.#stopping || this.#ports === null) return;
    this.#restart();
    const reason = this.#restartReason;
    this.#restartReason = null;
    const why = reason ?? (await output.whyEnded(exit));
    this.#options.log.error(`nats-server ended: ${why}; starting it again`, { pid, ...exit });
  }

  #restart(): void {
    if (this.#restarting) return;
    this.#restarting = true;
    const pause = this.#restartPauseMs;
    this.#restartPauseMs = Math.min(restartPauseMs.most, pause * 2);
    setTimeout(() => {
      this.#restarting = false;
      if (this.#stopping) return;
      const started = () => this.#child !== null && this.#options.onRestart?.(this.#child.pid);
      this.#run().then(started, (error: unknown) => {
        const fault = isUnibusError(error) ? error.message : `nats-server did not start: ${(error as Error).message}`;
        // Once for each cause: it is tried every two seconds.
        if (fault !== this.#loggedFault) this.#options.log.error("cannot restart nats-server", { cause: error });
        this.#fault = this.#loggedFault = fault;
        // A child that is still running is being killed, and its exit triggers the next restart.
        if (this.#child === null) this.#restart();
      });
    }, pause);
  }
}

/** How to fix a start that failed, from nats-server's own message. */
function startHint(why: string): string {
  if (/no space left/.test(why)) return "free some space on the disk";
  if (/no progress/.test(why)) return "check its log with UNIBUS_DEBUG=1, and the disk";
  if (/cannot execute .*EACCES/.test(why)) {
    return "mount its disk with exec, choose another data directory with --data, or set UNIBUS_NATS_SERVER to one elsewhere";
  }
  return "check the settings of nats-embedded";
}

/** The error for a nats-server that did not start, from its own message. */
function startError(why: string): UnibusError {
  if (!/\blisten tcp\b/.test(why)) {
    return new UnibusError("unavailable", `nats-server did not start: ${why} (${startHint(why)})`);
  }
  const [setting, option] = /websocket/.test(why) ? ["ws", "--ws"] : ["listen", "--nats"];
  const [, address = ""] = /listen tcp (\S+): bind/.exec(why) ?? /port: (\S+),/.exec(why) ?? [];
  const what = /already in use/.test(why) ? "the address is in use" : "the address cannot be bound";
  const message = `nats-embedded.${setting} ${address}: ${what} (choose another with ${option} HOST:PORT)`;
  return new UnibusError("invalid", message, { cause: new Error(why) });
}

/** The command line that starts nats-server so that it ends with this process, if the system supports that. */
function command(argv: readonly string[]): string[] {
  if (process.platform !== "linux") return [...argv];
  const compiled = import.meta.path.startsWith("/$bunfs/");
  const self = compiled ? [launchCommand] : [join(import.meta.dir, "launch.ts")];
  return [process.execPath, ...self, String(process.pid), ...argv];
}

/** Reads nats-server's ports file, or returns null while it is missing or incomplete. */
function readPorts(folder: string, pid: number): Ports | null {
  const name = readdirSync(folder).find((file) => file.endsWith(`_${pid}.ports`));
  if (name === undefined) return null;
  try {
    const said = JSON.parse(readFileSync(join(folder, name), "utf8")) as { nats?: string[]; websocket?: string[] };
    const port = (urls: string[] | undefined) => Number(/:(\d+)$/.exec(urls?.[0] ?? "")?.[1] ?? 0);
    return { nats: port(said.nats), ws: port(said.websocket) };
  } catch {
    return null;
  }
}

/** The name of the signal that ended a process. */
function signalName(signal: number | string | null): string | null {
  if (typeof signal !== "number") return signal;
  return Object.entries(constants.signals).find(([, number]) => number === signal)?.[0] ?? `signal ${signal}`;
}
