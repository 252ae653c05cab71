/**
 * The output of all commands. Text by other people may contain characters that control a terminal, or hide or reorder
 * text; they are escaped here. JSON output escapes them so that it parses to the same value. Only the bytes of a file
 * or an answer are written unchanged.
 *
 * Output is written immediately and in order. A command with much output awaits each line, which gives a slow reader
 * backpressure; for the others `flushOut` waits at the end.
 */
import { readFileSync } from "node:fs";
import { UnibusError } from "../wire/errors.ts";
import { type Piece, painter, safeJson, safeLines, safePieces, safeText } from "./terminal-text.ts";

/** Data that a command prints, one name and value per line. */
export type Fields = Readonly<Record<string, string | number | boolean>>;

/** How a command prints. */
export interface PrintOptions {
  /** Whether to print one JSON document instead of lines for people. */
  readonly json?: boolean | undefined;
}

const gone = new AbortController();
let fault: unknown = null;

/** Handles a closed pipe: the reader has read enough, which is not an error. */
function failed(error: unknown): void {
  if ((error as { code?: unknown }).code !== "EPIPE") fault ??= error;
  gone.abort();
}

process.stdout.on("error", failed);
process.stderr.on("error", () => undefined);

/** Aborted when stdout has no reader any more. */
export const readerGone: AbortSignal = gone.signal;

const stdout = 1;
/** Set on descriptors that this process opened itself, never on inherited ones. */
const closeOnExec = 0o2000000;

/**
 * Refuses to run if stdout was closed before the process started (`>&-`). The runtime then opens /dev/null in its
 * place, and output would be lost without an error.
 * Errors: invalid.
 */
export function checkStdout(): void {
  let flags: string | undefined;
  try {
    flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${stdout}`, "utf8"))?.[1];
  } catch {
    // Not Linux, so this cannot be checked.
    return;
  }
  if (flags === undefined || (Number.parseInt(flags, 8) & closeOnExec) === 0) return;
  throw new UnibusError("invalid", "stdout is closed (redirect it to /dev/null to drop what is printed)");
}

/**
 * Writes bytes to stdout unchanged, and resolves when they were written. Only for the content of files and answers.
 * Errors: unavailable.
 */
export function writeBytes(bytes: Uint8Array): Promise<void> {
  return write(bytes);
}

/** Writes to stdout and resolves when the data was written. A slow reader delays this. Errors: unavailable. */
async function write(data: string | Uint8Array): Promise<void> {
  if (!gone.signal.aborted) {
    const error = await new Promise<unknown>((resolve) => process.stdout.write(data, resolve));
    // The error event comes later.
    if (error) failed(error);
  }
  if (fault === null) return;
  const what = `cannot write to stdout: ${String((fault as { code?: unknown }).code)}`;
  throw new UnibusError("unavailable", `${what} (check that it has free space)`, { cause: fault });
}

const pending = new Set<Promise<void>>();

/** Writes text to stdout. If the caller does not await it, `flushOut` does. */
function put(data: string): Promise<void> {
  const writing = write(data);
  const settled: Promise<void> = writing.catch(() => undefined).finally(() => pending.delete(settled));
  pending.add(settled);
  return writing;
}

/** Resolves when all output has been written. Errors: unavailable if stdout failed. */
export async function flushOut(): Promise<void> {
  await Promise.all(pending);
  await write("");
}

/** Formats fields as lines with aligned values. */
export function fieldLines(fields: Fields): string {
  const width = Math.max(0, ...Object.keys(fields).map((name) => name.length));
  return Object.entries(fields)
    .map(([name, value]) => `${name.padEnd(width)}  ${safeText(String(value))}\n`)
    .join("");
}

/** Prints fields to stdout, as lines or as JSON. */
export function printFields(fields: Fields, options: PrintOptions = {}): Promise<void> {
  return options.json ? printJson(fields) : put(fieldLines(fields));
}

/** Prints a value to stdout as one line of JSON. */
export function printJson(value: unknown): Promise<void> {
  return put(`${safeJson(value)}\n`);
}

/** Prints one line of data to stdout. */
export function printLine(...pieces: readonly Piece[]): Promise<void> {
  return put(`${safePieces(pieces)}\n`);
}

/** Prints the cells of a row to stdout, separated by tabs. */
export function printRow(...cells: readonly string[]): Promise<void> {
  return put(`${cells.map(safeText).join("\t")}\n`);
}

/**
 * Prints rows to stdout and returns their number: for programs with cells separated by tabs, on a terminal in columns
 * below their names. A row may have fewer cells than there are names.
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

/** The rows of a table, each a list of cells. */
type Rows = AsyncIterable<readonly string[]> | Iterable<readonly string[]>;

/** Prints a text of several lines to stdout. It must end with a line feed. */
export function printText(text: string): Promise<void> {
  return put(safeLines(text));
}

let showNote: ((note: string) => void) | null = null;

/** Prints a note for a person, apart from the data, to stderr. */
export function printNote(note: string): void {
  if (showNote === null) process.stderr.write(`${safeText(note)}\n`);
  else showNote(note);
}

/** Passes notes to `show`, until the returned function is called: a command that draws on the terminal shows them. */
export function divertNotes(show: (note: string) => void): () => void {
  showNote = show;
  return () => {
    showNote = null;
  };
}

/** Prints what a command did: a note to stderr for a person, with `--json` an object to stdout for a program. */
export async function printDone(note: string, done: object, { json }: PrintOptions): Promise<void> {
  if (json) return printJson(done);
  printNote(note);
}

/** Prints an error to stderr: text of one or more lines, or a value as JSON. */
export function printError(error: string | object): void {
  process.stderr.write(typeof error === "string" ? safeLines(error) : `${safeJson(error)}\n`);
}
