/**
 * Everything that a command prints passes here, and is made harmless: what other people wrote may hold characters that
 * steer a terminal, hide or turn text around. Those are shown by their numbers. JSON escapes them and reads back as it
 * was; bytes of a file or an answer alone go out as they are.
 *
 * What is printed is on its way at once, in order. Who prints much awaits each line, so that a slow reader slows it;
 * whoever does not is waited for by `flushOut`, at the end.
 */
import { readFileSync } from "node:fs";
import { UnibusError } from "../wire/errors.ts";
import { type Piece, painter, safeJson, safeLines, safePieces, safeText } from "./terminal-text.ts";

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

/**
 * Writes bytes to stdout as they are, and resolves when they were taken. For the content of files and answers alone.
 * Errors: unavailable.
 */
export function writeBytes(bytes: Uint8Array): Promise<void> {
  return write(bytes);
}

/** Writes to stdout, and resolves when it was taken: who reads slowly is waited for. Errors: unavailable. */
async function write(data: string | Uint8Array): Promise<void> {
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

/** Writes text to stdout. Who does not wait for it leaves that to `flushOut`. */
function put(data: string): Promise<void> {
  const writing = write(data);
  const settled: Promise<void> = writing.catch(() => undefined).finally(() => pending.delete(settled));
  pending.add(settled);
  return writing;
}

/** Resolves when everything that was printed has been taken. Errors: unavailable when stdout took less. */
export async function flushOut(): Promise<void> {
  await Promise.all(pending);
  await write("");
}

/** Fields as lines, their values under each other. */
export function fieldLines(fields: Fields): string {
  const width = Math.max(0, ...Object.keys(fields).map((name) => name.length));
  return Object.entries(fields)
    .map(([name, value]) => `${name.padEnd(width)}  ${safeText(String(value))}\n`)
    .join("");
}

/** Prints fields on stdout, as lines or as JSON. */
export function printFields(fields: Fields, options: PrintOptions = {}): Promise<void> {
  return options.json ? printJson(fields) : put(fieldLines(fields));
}

/** Prints a value on stdout, as one line of JSON. */
export function printJson(value: unknown): Promise<void> {
  return put(`${safeJson(value)}\n`);
}

/** Prints one line of data on stdout. */
export function printLine(...pieces: readonly Piece[]): Promise<void> {
  return put(`${safePieces(pieces)}\n`);
}

/** Prints the cells of a row on stdout, with tabs between. */
export function printRow(...cells: readonly string[]): Promise<void> {
  return put(`${cells.map(safeText).join("\t")}\n`);
}

/**
 * Prints rows on stdout, and gives how many: with tabs between the cells for programs; on a terminal in columns, under
 * their names. A row may have fewer cells than there are names.
 */
export async function printTable(names: readonly string[], rows: Rows): Promise<number> {
  let count = 0;
  const shown: string[][] = [];
  for await (const row of rows) {
    count += 1;
    if (process.stdout.isTTY) shown.push(names.map((_, at) => safeText(row[at] ?? "")));
    else await printRow(...row);
  }
  if (shown.length === 0) return count;
  const columns = names.map((_, at) => at).filter((at) => shown.some((row) => row[at] !== ""));
  const widthOf = (at: number) => Math.max(...[names, ...shown].map((row) => Bun.stringWidth(row[at] ?? "")));
  const widths = columns.map(widthOf);
  const lineOf = (row: readonly string[]) =>
    columns
      .map((at, i) => `${row[at]}${" ".repeat((widths[i] ?? 0) - Bun.stringWidth(row[at] ?? ""))}`)
      .join("  ")
      .trimEnd();
  await printLine(painter()(lineOf(names), "dim"));
  for (const row of shown) await put(`${lineOf(row)}\n`);
  return count;
}

/** Rows of cells. */
type Rows = AsyncIterable<readonly string[]> | Iterable<readonly string[]>;

/** Prints a text of several lines on stdout. It ends its last line itself. */
export function printText(text: string): Promise<void> {
  return put(safeLines(text));
}

/** Tells a person something beside the data, on stderr. */
export function printNote(note: string): void {
  process.stderr.write(`${safeText(note)}\n`);
}

/** Prints an error on stderr: a text of one or more lines, or a value as JSON. */
export function printError(error: string | object): void {
  process.stderr.write(typeof error === "string" ? safeLines(error) : `${safeJson(error)}\n`);
}
