/**
 * Children of a script that end with it. Each leads a session, which its descendants share: not a process group, since
 * each worker of `bun test` leads a group of its own.
 */
import { readdirSync, readFileSync } from "node:fs";

/** How long descendants may take to stop after SIGTERM before they are killed, in milliseconds. */
const patienceMs = 15_000;
/** How long the kernel may take to end a killed process, in milliseconds. */
const killedWithinMs = 5_000;
const pollMs = 20;

/** The exit codes of a script that was ended by a signal. */
const exitCodes = { SIGINT: 130, SIGTERM: 143 } as const;

/** The process ids of a session that are more than zombies, which the init of a container may never reap. */
function processesOf(session: number): number[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.map(Number).filter((pid) => {
    const [state, , , of] = statOf(pid).split(" ");
    return of === `${session}` && state !== "Z";
  });
}

/** The text of `/proc/PID/stat` after the name: state, parent, group, session. Empty if the process has ended. */
function statOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /s, "");
  } catch {
    return "";
  }
}

/** Where there is no /proc, only the group of the session's leader is known: a negative id stands for a group. */
const membersOf = (session: number): number[] => (process.platform === "linux" ? processesOf(session) : [-session]);

/** Sends a signal to all processes of a session, or 0 to none. Returns whether there are any. */
function signalTo(session: number, signal: NodeJS.Signals | 0): boolean {
  const sent = membersOf(session).map((pid) => {
    try {
      process.kill(pid, signal);
      return true;
    } catch {
      return false;
    }
  });
  return sent.includes(true);
}

const sessions = new Set<number>();
let isEnding = false;

/** Waits until no process of these sessions is left. Returns false if that takes too long. */
async function areGone(ending: readonly number[], withinMs: number): Promise<boolean> {
  const end = performance.now() + withinMs;
  while (ending.some((session) => signalTo(session, 0))) {
    if (performance.now() > end) return false;
    await Bun.sleep(pollMs);
  }
  return true;
}

/** Ends all sessions: by SIGTERM, and by SIGKILL what is left after `withinMs`. */
async function endSessions(withinMs: number): Promise<void> {
  const ending = [...sessions];
  // A halted process does not see the signal until it continues.
  for (const signal of ["SIGTERM", "SIGCONT"] as const) for (const one of ending) signalTo(one, signal);
  if (await areGone(ending, withinMs)) return;
  for (const one of ending) signalTo(one, "SIGKILL");
  await areGone(ending, killedWithinMs);
}

/** How to run a command. */
export interface RunOptions {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether its output appears at once, and is not returned. */
  readonly isShown?: boolean;
  /** After how long the session is killed, in milliseconds. */
  readonly timeoutMs?: number;
}

/** What a command returned: its exit code, and what it wrote to stdout, then to stderr. */
export interface Ran {
  readonly code: number;
  readonly output: string;
}

/**
 * Runs a command as the leader of a new session. Never resolves once a signal ends the script, so that the script
 * draws no conclusion from how the command ended.
 */
export async function runInSession(command: readonly string[], options: RunOptions): Promise<Ran> {
  const { isShown = false, timeoutMs, ...rest } = options;
  const out = isShown ? "inherit" : "pipe";
  const child = Bun.spawn([...command], { ...rest, stdio: ["ignore", out, out], detached: true });
  sessions.add(child.pid);
  const late = timeoutMs === undefined ? undefined : setTimeout(() => signalTo(child.pid, "SIGKILL"), timeoutMs);
  const read = (stream: ReadableStream | undefined) => new Response(stream ?? null).text();
  const [output, errors, code] = await Promise.all([read(child.stdout), read(child.stderr), child.exited]);
  clearTimeout(late);
  sessions.delete(child.pid);
  return isEnding ? new Promise<never>(() => undefined) : { code, output: `${output}${errors}` };
}

/**
 * On SIGINT or SIGTERM ends every command that `runInSession` started, with its descendants, waits until they are gone,
 * and exits with 130 or 143. Further signals change nothing.
 */
export function endSessionsOnSignals(withinMs: number = patienceMs): void {
  for (const [signal, code] of Object.entries(exitCodes)) {
    process.on(signal, () => {
      if (isEnding) return;
      isEnding = true;
      void endSessions(withinMs).finally(() => process.exit(code));
    });
  }
}
