/**
 * Parses what a NATS server sends, in pieces of any size. Source: https://docs.nats.io/reference/reference-protocols
 */

/** What a server sends. */
export type NatsEvent =
  | { readonly kind: "info"; readonly json: string }
  | { readonly kind: "ping" | "pong" }
  /** An error. The server closes the connection after most of them. */
  | { readonly kind: "error"; readonly text: string }
  | {
      readonly kind: "message";
      readonly subject: string;
      /** The id of the subscription. */
      readonly sid: string;
      readonly reply: string | undefined;
      /** The payload, without headers. */
      readonly data: Uint8Array;
    };

/** The maximum size of a line, in bytes. The longest is INFO, which lists the servers of a cluster. */
const lineBytesMax = 65_536;
/** The maximum size of a message with its headers, in bytes: the server's own limit is below. */
const messageBytesMax = 2 * 1_048_576;

const text = new TextDecoder();
const lf = 0x0a;

/** A message whose payload has not arrived completely. */
interface Head {
  readonly subject: string;
  readonly sid: string;
  readonly reply: string | undefined;
  readonly headerBytes: number;
  /** Headers and payload. */
  readonly totalBytes: number;
}

function headOf(line: string): Head {
  const [verb = "", ...fields] = line.split(/[ \t]+/);
  const hasHeaders = verb.toUpperCase() === "HMSG";
  const numbers = fields.splice(hasHeaders ? -2 : -1).map(Number);
  const [subject = "", sid = "", reply] = fields;
  const totalBytes = numbers.at(-1) ?? Number.NaN;
  const headerBytes = hasHeaders ? (numbers[0] ?? Number.NaN) : 0;
  const isWhole = Number.isInteger(totalBytes) && Number.isInteger(headerBytes) && fields.length >= 2;
  if (!isWhole || headerBytes < 0 || headerBytes > totalBytes) throw new Error("the server sent a malformed message");
  if (totalBytes > messageBytesMax) throw new Error("the server sent a message that is too long");
  return { subject, sid, reply, headerBytes, totalBytes };
}

function eventOf(line: string): NatsEvent | null {
  const [, verb = "", rest = ""] = /^(\S+)\s*(.*)$/.exec(line) ?? [];
  switch (verb.toUpperCase()) {
    case "INFO":
      return { kind: "info", json: rest };
    case "PING":
      return { kind: "ping" };
    case "PONG":
      return { kind: "pong" };
    case "-ERR":
      return { kind: "error", text: rest.replace(/^'|'$/g, "") };
    case "+OK":
      return null;
    default:
      throw new Error("the server does not speak NATS");
  }
}

/** A parser of one connection. */
export class NatsParser {
  #chunks: Uint8Array[] = [];
  #bytes = 0;
  /** How many bytes must be there before it is worth to look again. */
  #wanted = 1;
  #head: Head | null = null;

  /** Takes the next bytes; returns what is complete. Errors: a plain Error for what is not NATS, or too long. */
  take(chunk: Uint8Array): NatsEvent[] {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes < this.#wanted) return [];
    const all = this.#joined();
    const events: NatsEvent[] = [];
    let at = 0;
    for (;;) {
      const read = this.#head === null ? this.#line(all, at, events) : this.#payload(all, at, this.#head, events);
      if (read === null) break;
      at = read;
    }
    this.#chunks = at === all.length ? [] : [all.subarray(at)];
    this.#bytes = all.length - at;
    this.#wanted = this.#head === null ? this.#bytes + 1 : this.#head.totalBytes + 2;
    return events;
  }

  #joined(): Uint8Array {
    const [only] = this.#chunks;
    if (only !== undefined && this.#chunks.length === 1) return only;
    const all = new Uint8Array(this.#bytes);
    let at = 0;
    for (const chunk of this.#chunks) {
      all.set(chunk, at);
      at += chunk.length;
    }
    return all;
  }

  /** Reads a line; returns where the rest begins, or null if it is not complete. */
  #line(all: Uint8Array, at: number, events: NatsEvent[]): number | null {
    const end = all.indexOf(lf, at);
    if ((end === -1 ? all.length : end) - at > lineBytesMax) throw new Error("the server sent a line that is too long");
    if (end === -1) return null;
    const line = text.decode(all.subarray(at, end)).replace(/\r$/, "");
    if (/^H?MSG[ \t]/i.test(line)) this.#head = headOf(line);
    else {
      const event = eventOf(line);
      if (event !== null) events.push(event);
    }
    return end + 1;
  }

  #payload(all: Uint8Array, at: number, head: Head, events: NatsEvent[]): number | null {
    const end = at + head.totalBytes;
    if (all.length < end + 2) return null;
    if (all[end] !== 0x0d || all[end + 1] !== lf) throw new Error("the server sent a malformed message");
    const { subject, sid, reply, headerBytes } = head;
    // A copy: the bytes of a chunk must not stay in memory for one small message.
    events.push({ kind: "message", subject, sid, reply, data: all.slice(at + headerBytes, end) });
    this.#head = null;
    return end + 2;
  }
}
