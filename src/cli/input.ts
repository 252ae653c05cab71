import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { InvalidArgumentError } from "commander";
import { isUnibusError, UnibusError } from "../wire/errors.ts";
import { frameBytesMax } from "../wire/frame.ts";

const tooLarge = (what: string): UnibusError =>
  new UnibusError("too_large", `${what} is larger than a message may be (send a file with blob put or send --attach)`);

const newline = 0x0a;

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : new Uint8Array(Buffer.concat(chunks));
}

/** Reads a stream to its end. Errors: too_large if it exceeds the maximum size of a message. */
export async function wholeOf(stream: AsyncIterable<Uint8Array>, what: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    if (size > frameBytesMax) throw tooLarge(what);
    chunks.push(chunk);
  }
  return joined(chunks);
}

const carriageReturn = 0x0d;
const byteOrderMark = [0xef, 0xbb, 0xbf] as const;

/** Strips the carriage return of Windows, and from the first line the byte order mark. */
function plainLine(line: Uint8Array, isFirst: boolean): Uint8Array {
  const from = isFirst && byteOrderMark.every((byte, at) => line[at] === byte) ? byteOrderMark.length : 0;
  return line.subarray(from, line.at(-1) === carriageReturn ? line.length - 1 : line.length);
}

/**
 * Yields the lines of a stream without line ends (LF or CRLF) and without a leading byte order mark. Text after the
 * last line end is a line, too.
 * Errors: too_large for a line larger than any message.
 */
export async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  let rest: Uint8Array[] = [];
  let size = 0;
  let count = 0;
  for await (const chunk of stream) {
    let from = 0;
    for (let at = chunk.indexOf(newline); at !== -1; at = chunk.indexOf(newline, from)) {
      count += 1;
      yield plainLine(joined([...rest, chunk.subarray(from, at)]), count === 1);
      rest = [];
      size = 0;
      from = at + 1;
    }
    if (from === chunk.length) continue;
    rest.push(chunk.slice(from));
    size += chunk.length - from;
    if (size > frameBytesMax) throw tooLarge(`line ${count + 1} of stdin`);
  }
  if (size > 0) yield plainLine(joined(rest), count === 0);
}

/** A file named on the command line, opened for reading. */
export interface NamedFile {
  readonly stream: AsyncIterable<Uint8Array>;
  /** In bytes, or null for a pipe or device of unknown size. */
  readonly size: number | null;
}

/**
 * Opens a file named on the command line, which may also be a pipe, such as `<(command)`, or a device.
 * Errors: not_found for a missing file; invalid for a folder, and for a file that cannot be read.
 */
export async function openNamed(path: string): Promise<NamedFile> {
  try {
    const found = await stat(path);
    if (found.isDirectory()) throw new UnibusError("invalid", `${path} is a folder (name a file)`);
    if (found.isFile()) return { stream: readable(path, Bun.file(path).stream()), size: found.size };
    // Bun cannot stream a device.
    return { stream: readable(path, createReadStream(path)), size: null };
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function unreadable(path: string, cause: unknown): UnibusError {
  if (isUnibusError(cause)) return cause;
  const code = String((cause as { code?: unknown }).code);
  if (code === "ENOENT") return new UnibusError("not_found", `no such file: ${path} (correct the name)`);
  return new UnibusError("invalid", `${path} cannot be read: ${code} (check its permissions)`, { cause });
}

/** Passes a stream on. An error of the file, which may come late, names it. */
async function* readable(path: string, stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  try {
    yield* stream;
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

/** Refuses an empty message with a usage error. */
export function checkNotEmpty<T extends Uint8Array | string>(data: T, what: string): T {
  if (data.length > 0) return data;
  throw new InvalidArgumentError(`nothing to send: ${what} is empty (write a message)`);
}

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * The text of an argument called `name`; `-` stands for all of stdin.
 * Errors: a usage error if it is empty; too_large; invalid if stdin is not UTF-8.
 */
export async function textOrStdin(text: string, name: string): Promise<string> {
  if (text !== "-") return checkNotEmpty(text, name);
  const data = checkNotEmpty(await wholeOf(Bun.stdin.stream(), "stdin"), "stdin");
  try {
    return strict.decode(data);
  } catch (cause) {
    throw new UnibusError("invalid", "stdin is not text in UTF-8 (convert it first)", { cause });
  }
}
