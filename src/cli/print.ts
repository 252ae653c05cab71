import { readFileSync } from "node:fs";
import { UnibusError } from "../wire/errors.ts";
import { safeJson, safeText } from "./terminal-text.ts";

/** Data that a command prints: a name and a text or a number for each line. */
export type Fields = Readonly<Record<string, string | number | boolean>>;

/** How a command prints. */
export interface PrintOptions {
  /** One JSON document instead of lines for people. */
  readonly json?: boolean | undefined;
}

const gone = new AbortController();
let fault: unknown = null;

/** One who read enough closes the pipe: that is an end, and no error. */
function failed(error: unknown): void {
  if ((error as { code?: unknown }).code !== "EPIPE") fault ??= error;
  gone.abort();
}

process.stdout.on("error", failed);
process.stderr.on("error", () => undefined);

/** Aborted when nobody reads stdout any more. */
export const readerGone: AbortSignal = gone.signal;

const stdout = 1;
/** Set for descriptors that the process opened itself: one that was inherited never has it. */
const closeOnExec = 0o2000000;

/**
 * Refuses a stdout that was closed before the process began (`>&-`). The runtime opens /dev/null in its place, where
 * data would vanish without an error.
 * Errors: invalid.
 */
export function checkStdout(): void {
  let flags: string | undefined;
  try {
    flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${stdout}`, "utf8"))?.[1];
  } catch {
    // Another system than Linux: it cannot be told.
    return;
  }
  if (flags === undefined || (Number.parseInt(flags, 8) & closeOnExec) === 0) return;
  throw new UnibusError("invalid", "stdout is closed (redirect it to /dev/null to drop what is printed)");
}

/** Writes data to stdout, and resolves when it was taken: who reads slowly is waited for. Errors: unavailable. */
export async function writeOut(data: string | Uint8Array): Promise<void> {
  if (!gone.signal.aborted) {
    const error = await new Promise<unknown>((resolve) => process.stdout.write(data, resolve));
    // The event that tells of it comes later.
    if (error) failed(error);
  }
  if (fault === null) return;
  const what = `stdout takes no more: ${String((fault as { code?: unknown }).code)}`;
  throw new UnibusError("unavailable", `${what} (see that it has room)`, { cause: fault });
}

const pending = new Set<Promise<void>>();

/** Writes data to stdout, where nobody waits for it: `flushOut` does, at the end. */
function put(data: string): void {
  const writing: Promise<void> = writeOut(data)
    .catch(() => undefined)
    .finally(() => pending.delete(writing));
  pending.add(writing);
}

/** Resolves when everything that was printed has been taken. Errors: unavailable when stdout took less. */
export async function flushOut(): Promise<void> {
  await Promise.all(pending);
  await writeOut("");
}

/** Fields as lines, their values under each other. */
export function fieldLines(fields: Fields): string {
  const width = Math.max(0, ...Object.keys(fields).map((name) => name.length));
  return Object.entries(fields)
    .map(([name, value]) => `${name.padEnd(width)}  ${safeText(String(value))}\n`)
    .join("");
}

/** Prints fields on stdout, as lines or as JSON. */
export function printFields(fields: Fields, options: PrintOptions = {}): void {
  put(options.json ? `${safeJson(fields)}\n` : fieldLines(fields));
}

/** Prints one line of data on stdout. */
export function printLine(line: string): void {
  put(`${line}\n`);
}

/** Tells a person something beside the data, on stderr. */
export function printNote(note: string): void {
  process.stderr.write(`${note}\n`);
}
