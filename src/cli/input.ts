import { UnibusError } from "../wire/errors.ts";
import { frameBytesMax } from "../wire/frame.ts";

const tooLarge = (what: string): UnibusError =>
  new UnibusError("too_large", `${what} is larger than any message (files go by blob put, or send --attach)`);

const newline = 0x0a;

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : new Uint8Array(Buffer.concat(chunks));
}

/** Some bytes to their end. Errors: too_large for more than any message holds. */
export async function wholeOf(stream: ReadableStream<Uint8Array>, what: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    if (size > frameBytesMax) throw tooLarge(what);
    chunks.push(chunk);
  }
  return joined(chunks);
}

/**
 * Some bytes line by line, without the line ends; what stands behind the last one is a line, too.
 * Errors: too_large for a line that is larger than any message.
 */
export async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  let rest: Uint8Array[] = [];
  let size = 0;
  let count = 0;
  for await (const chunk of stream) {
    let from = 0;
    for (let at = chunk.indexOf(newline); at !== -1; at = chunk.indexOf(newline, from)) {
      count += 1;
      yield joined([...rest, chunk.subarray(from, at)]);
      rest = [];
      size = 0;
      from = at + 1;
    }
    if (from === chunk.length) continue;
    rest.push(chunk.slice(from));
    size += chunk.length - from;
    if (size > frameBytesMax) throw tooLarge(`line ${count + 1} of stdin`);
  }
  if (size > 0) yield joined(rest);
}
