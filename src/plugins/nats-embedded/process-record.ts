/**
 * Which process a pid means. A pid alone is reused by the system, and a command line can be written by anyone, so a
 * process is recorded, and later recognised, by its executable and the moment it started.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";

const ProcessRecord = Type.Object({
  pid: Type.Integer({ minimum: 2 }),
  /** Path of the executable, symbolic links resolved. */
  executable: Type.String(),
  /** When the process started, in the system's own words; only ever compared. */
  started: Type.String(),
});
/** What identifies one process. */
export type ProcessRecord = Static<typeof ProcessRecord>;

interface Identity {
  readonly executable: string;
  readonly started: string;
}

/** Linux: the start is a count of ticks since boot, so the boot belongs to it. */
function fromProc(pid: number): Identity | null {
  // Fields are counted behind the command's name, which is in brackets and may hold anything.
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  if (fields[0] === "Z" || fields[0] === "X") return null;
  const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  // The kernel marks an executable whose file has been removed since.
  const executable = readlinkSync(`/proc/${pid}/exe`).replace(/ \(deleted\)$/, "");
  return { executable, started: `${boot} ${fields[19]}` };
}

function fromPs(pid: number): Identity | null {
  const field = (name: string) =>
    spawnSync("ps", ["-o", `${name}=`, "-p", String(pid)])
      .stdout.toString()
      .trim();
  const [state, started, executable] = [field("stat"), field("lstart"), field("comm")];
  return state === "" || state.startsWith("Z") ? null : { executable: realpathSync(executable), started };
}

function identityOf(pid: number): Identity | null {
  try {
    return process.platform === "linux" ? fromProc(pid) : fromPs(pid);
  } catch {
    // The process is gone, or belongs to another user: not ours either way.
    return null;
  }
}

/**
 * Records a running process of ours that is, or is about to become, `executable`.
 * Null when it is gone already.
 */
export function recordOf(pid: number, executable: string): ProcessRecord | null {
  const identity = identityOf(pid);
  if (identity === null || !existsSync(executable)) return null;
  return { pid, executable: realpathSync(executable), started: identity.started };
}

/** Whether exactly the recorded process still runs. */
export function isRunning(record: ProcessRecord): boolean {
  const identity = identityOf(record.pid);
  return identity?.executable === record.executable && identity.started === record.started;
}

/** Reads a record from its file. Null when there is none, or the text is not one. */
export function readRecord(file: string): ProcessRecord | null {
  try {
    const value: unknown = JSON.parse(readFileSync(file, "utf8"));
    return Value.Check(ProcessRecord, value) ? value : null;
  } catch {
    return null;
  }
}
