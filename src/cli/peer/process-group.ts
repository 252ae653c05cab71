/**
 * Runs commands in their own process groups, for `serve-rpc`.
 *
 * A command is done when its own process exits, even if a process that it started keeps its stdout open. Processes left
 * behind keep running until `ProcessGroups` ends them, at stop or when too many groups are left. None outlives this
 * process unless this process dies by SIGKILL.
 */
import { pause } from "../../client/transport/wait.ts";
import { UnibusError } from "../../wire/errors.ts";

/** How many groups may be left running. The oldest is killed for the next one. */
const groupsMax = 256;
/** Polling interval for ended groups, time they get to end at stop, and polling interval then, in milliseconds. */
const groupMs = { look: 1_000, end: 1_000, poll: 20 } as const;
/**
 * When a command exits, its output is already in the pipe. If its stdout stays open, reading ends after a quiet period
 * of `quiet`, and after `most` in any case. In milliseconds.
 */
const drainMs = { quiet: 50, most: 1_000 } as const;

/** Sends a signal to a group, or none with 0. Returns whether the group exists. */
function signalGroup(group: number, signal: "SIGTERM" | "SIGKILL" | 0): boolean {
  try {
    process.kill(-group, signal);
    return true;
  } catch {
    return false;
  }
}

/** The process groups of running commands, and those that commands have left behind. */
export class ProcessGroups {
  readonly #running = new Set<number>();
  readonly #groups = new Set<number>();
  readonly #killAll = (): void => {
    for (const group of [...this.#running, ...this.#groups]) signalGroup(group, "SIGKILL");
  };
  #looking: ReturnType<typeof setInterval> | undefined;

  constructor() {
    process.on("exit", this.#killAll);
  }

  /** Registers the group of a command that has started. */
  begin(group: number): void {
    this.#running.add(group);
  }

  /** Keeps track of a group whose command has exited, if any of its processes still run. */
  keep(group: number): void {
    this.#running.delete(group);
    if (!signalGroup(group, 0)) return;
    this.#groups.add(group);
    // The system may reuse the id of a group that has ended, so drop it soon.
    this.#looking ??= setInterval(() => this.#forgetGone(), groupMs.look);
    this.#looking.unref?.();
    const [oldest] = this.#groups;
    if (this.#groups.size <= groupsMax || oldest === undefined) return;
    signalGroup(oldest, "SIGKILL");
    this.#groups.delete(oldest);
  }

  /** Ends all groups: with SIGTERM, then SIGKILL. */
  async end(): Promise<void> {
    this.#forgetGone();
    for (const group of this.#groups) signalGroup(group, "SIGTERM");
    const endMs = performance.now() + groupMs.end;
    while (this.#groups.size > 0 && performance.now() < endMs) {
      await pause(groupMs.poll, undefined);
      this.#forgetGone();
    }
    this.#killAll();
    this.#groups.clear();
    clearInterval(this.#looking);
    process.off("exit", this.#killAll);
  }

  #forgetGone(): void {
    for (const group of this.#groups) if (!signalGroup(group, 0)) this.#groups.delete(group);
    if (this.#groups.size > 0) return;
    clearInterval(this.#looking);
    this.#looking = undefined;
  }
}

/** Collects a stream up to a maximum size, then keeps draining it so that its writer does not block. */
class Output {
  readonly #chunks: Uint8Array[] = [];
  #size = 0;
  #isTaken = false;
  readonly ended: Promise<void>;
  /** Rejects with too_large. */
  readonly overflow: Promise<never>;

  constructor(stream: ReadableStream<Uint8Array>, bytesMax: number) {
    const overflow = Promise.withResolvers<never>();
    this.overflow = overflow.promise;
    this.overflow.catch(() => undefined);
    this.ended = this.#read(stream, bytesMax, overflow.reject);
    this.ended.catch(() => undefined);
  }

  async #read(stream: ReadableStream<Uint8Array>, bytesMax: number, refuse: (error: Error) => void): Promise<void> {
    for await (const chunk of stream) {
      if (this.#isTaken) continue;
      this.#size += chunk.length;
      if (this.#size <= bytesMax) this.#chunks.push(chunk);
      else refuse(new UnibusError("too_large", `its output is larger than ${bytesMax} bytes`));
    }
  }

  /** Returns the collected output after its writer has exited. */
  async take(): Promise<Uint8Array> {
    const endMs = performance.now() + drainMs.most;
    for (let before = -1; before !== this.#size && performance.now() < endMs; ) {
      before = this.#size;
      const isOver = await Promise.race([
        this.ended.then(() => true),
        pause(drainMs.quiet, undefined).then(() => false),
      ]);
      if (isOver) break;
    }
    this.#isTaken = true;
    return new Uint8Array(Buffer.concat(this.#chunks));
  }
}

/** A command and its limits. */
export interface CommandRun {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: Uint8Array;
  readonly timeoutMs: number;
  readonly bytesMax: number;
}

/**
 * Runs a command until it exits and returns its stdout. A command that takes too long or writes too much is killed with
 * its whole group.
 * Errors: internal if it fails; timeout; too_large.
 */
export async function runCommand(run: CommandRun, groups: ProcessGroups): Promise<Uint8Array> {
  const { command, env, stdin, timeoutMs, bytesMax } = run;
  const child = Bun.spawn([...command], { env, stdin, stdout: "pipe", stderr: "inherit", detached: true });
  groups.begin(child.pid);
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    signalGroup(child.pid, "SIGKILL");
  }, timeoutMs);
  const output = new Output(child.stdout, bytesMax);
  try {
    const code = await Promise.race([child.exited, output.overflow]);
    if (isLate) throw new UnibusError("timeout", `it took more than ${timeoutMs} ms`);
    if (code !== 0) throw new UnibusError("internal", `it ended with ${child.signalCode ?? `exit ${code}`}`);
    return await Promise.race([output.take(), output.overflow]);
  } finally {
    clearTimeout(timer);
    if (child.exitCode === null && child.signalCode === null) {
      signalGroup(child.pid, "SIGKILL");
      await child.exited;
    }
    groups.keep(child.pid);
  }
}
