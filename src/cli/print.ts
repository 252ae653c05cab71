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

/** Fields as lines, their values under each other. */
export function fieldLines(fields: Fields): string {
  const width = Math.max(0, ...Object.keys(fields).map((name) => name.length));
  return Object.entries(fields)
    .map(([name, value]) => `${name.padEnd(width)}  ${safeText(String(value))}\n`)
    .join("");
}

/** Prints fields on stdout, as lines or as JSON. */
export function printFields(fields: Fields, options: PrintOptions = {}): void {
  process.stdout.write(options.json ? `${safeJson(fields)}\n` : fieldLines(fields));
}

/** Prints one line of data on stdout. */
export function printLine(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Tells a person something beside the data, on stderr. */
export function printNote(note: string): void {
  process.stderr.write(`${note}\n`);
}
