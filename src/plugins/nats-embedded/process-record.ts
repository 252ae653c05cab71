/**
 * Identifies a process beyond its pid. The system reuses pids, and any process can choose its command line, so a
 * process is recorded and later recognized by its executable and its start time.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";

const ProcessRecord = Type.Object({
  pid: Type.Integer({ minimum: 2 }),
  /** Path of the executable, with symbolic links resolved. */
  executable: Type.String(),
  /** When the process started, in the system's own format; only compared. */
  started: Type.String(),
});
/** The identity of one process. */
export type ProcessRecord = Static<typeof ProcessRecord>;

interface Identity {
  readonly executable: string;
  readonly started: string;
}

/** On Linux the start time is in ticks since boot, so the boot id is part of it. */
function fromProc(pid: number): Identity | null {
  // Fields are counted after the command's name, which is in parentheses and may contain anything.
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  if (fields[0] === "Z" || fields[0] === "X") return null;
  const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  // The kernel marks an executable whose file has been removed.
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
    // The process has ended or belongs to another user. Either way it is not ours.
    return null;
  }
}

/**
 * Records a running process of ours that is, or is about to become, `executable`.
 * Returns null if it has already ended.
 */
export function recordOf(pid: number, executable: string): ProcessRecord | null {
  const identity = identityOf(pid);
  if (identity === null || !existsSync(executable)) return null;
  return { pid, executable: realpathSync(executable), started: identity.started };
}

/** Whether exactly the recorded process is still running. */
export function isRunning(record: ProcessRecord): boolean {
  const identity = identityOf(record.pid);
  return identity?.executable === record.executable && identity.started === record.started;
}

/** Reads a record from a file. Returns null if the file is missing or not a record. */
export function readRecord(file: string): ProcessRecord | null {
  try {
    const value: unknown = JSON.parse(readFileSync(file, "utf8"));
    return Value.Check(ProcessRecord, value) ? value : null;
  } catch {
    return null;
  }
}
