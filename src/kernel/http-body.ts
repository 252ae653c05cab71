/**
 * Reads request bodies within limits of size, time and memory. A `RequestBody` is either read by its route, or drained
 * (read and thrown away) once the request is refused. `withBody` counts every buffered byte against one budget for all
 * requests and frees the memory right after use. http.ts and http-handler.ts use it.
 */
import { inTime } from "../contracts/deadline.ts";
import { bodiesBytesMax } from "../wire/api.ts";
import { UnibusError } from "../wire/errors.ts";

/** Time that every body gets regardless of its size, in milliseconds. */
const bodyGraceMs = 10_000;
/** Minimum average rate of a body after the grace period, in bytes per millisecond. */
const bodyRateMin = 64;

/** How much of a refused body is drained, in bytes, and for how long, in milliseconds. */
const drainBytesMax = 16 * 1_048_576;
const drainMs = 2_000;
/** How many refused bodies are drained concurrently. Beyond that a refused connection closes immediately. */
const drainsMax = 32;

/** Number of refused bodies being drained now. */
let draining = 0;
/** Bytes of all request bodies in memory. */
let held = 0;

function hold(bytes: number): void {
  if (held + bytes > bodiesBytesMax) {
    throw new UnibusError("unavailable", "server busy: too many request bodies (try again)", { retryAfterS: 1 });
  }
  held += bytes;
}

/** The body size that a request declares in Content-Length, in bytes, or null if it declares none. */
export function declaredSize({ headers }: Request): number | null {
  const declared = headers.get("content-length");
  return declared === null ? null : Number(declared);
}

/** Refuses, by the headers alone, a declared size over the limit and an encoded body. */
export function checkDeclared(request: Request, bytesMax: number): void {
  if ((declaredSize(request) ?? 0) > bytesMax) throw tooLarge(bytesMax);
  const encoding = request.headers.get("content-encoding");
  if (encoding !== null && encoding.toLowerCase() !== "identity") {
    throw new UnibusError("unsupported", `Content-Encoding ${encoding} is not supported (send the body unencoded)`);
  }
}

const tooLarge = (bytesMax: number) =>
  new UnibusError("too_large", `the request body exceeds ${bytesMax} bytes (send less)`);

/** The error for a body whose hash differs from the signed hash. */
export function otherBody(): UnibusError {
  return new UnibusError("invalid", "the body does not match X-Unibus-Body (send the body that you signed)");
}

const brokenOff = (cause: unknown) =>
  Promise.reject(new UnibusError("invalid", "the request body ended early (send all of it)", { cause }));
const tooSlow = () => new UnibusError("timeout", "the request body timed out (send it faster)");

/** Frees a chunk's memory immediately. The garbage collector would wait until much more is in use. */
function free({ buffer }: Uint8Array): void {
  (buffer as ArrayBuffer).transfer(0);
}

/** Limits for one body. `hash` is the signed SHA-256 in lowercase hex, or null if the request signed none. */
export interface BodyRules {
  readonly bytesMax: number;
  readonly hash: string | null;
}

/** The body of one request: read by its route, or drained once the request is refused. */
export class RequestBody {
  readonly #request: Request;
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #isPending: boolean;

  constructor(request: Request) {
    this.#request = request;
    const { headers } = request;
    this.#isPending = (headers.get("content-length") ?? "0") !== "0" || headers.has("transfer-encoding");
  }

  /** Whether bytes may still arrive: the headers announced a body, and its end has not been read. */
  get isPending(): boolean {
    return this.#isPending;
  }

  /**
   * Yields the body chunk by chunk, including the chunk that exceeds the limit. If it ends without an error, the body
   * matched its hash. Errors: too_large; timeout for a slow body; invalid if it ends early or its hash differs.
   */
  async *chunks({ bytesMax, hash }: BodyRules): AsyncGenerator<Uint8Array> {
    const hasher = hash === null ? null : new Bun.CryptoHasher("sha256");
    const began = performance.now();
    for (let size = 0; ; ) {
      const left = bodyGraceMs + size / bodyRateMin - (performance.now() - began);
      const chunk = await inTime(this.#next().catch(brokenOff), left, tooSlow);
      if (chunk === null) break;
      size += chunk.byteLength;
      hasher?.update(chunk);
      yield chunk;
      if (size > bytesMax) throw tooLarge(bytesMax);
    }
    if (hasher !== null && hasher.digest("hex") !== hash) throw otherBody();
  }

  /** Cancels the rest of a body that its route did not read to the end. */
  leave(): void {
    if (this.#isPending) this.#reader?.cancel().catch(() => undefined);
  }

  /**
   * Returns the reply body of a refusal. While request bytes may still arrive, the reply is sent immediately but ends
   * only after they are drained, at most 16 MiB in at most 2 s: closing a connection with unread bytes resets it, and a
   * client that writes its whole request before it reads would never see the reply. Source: docs/protocol/limits.md.
   */
  refusal(text: string): string | ReadableStream<Uint8Array> {
    if (!this.#isPending || draining >= drainsMax) return text;
    const drained = this.#drain();
    return new ReadableStream({
      async start(controller) {
        controller.enqueue(new TextEncoder().encode(text));
        await drained;
        try {
          controller.close();
        } catch {
          // The client disconnected first, which closed the stream.
        }
      },
    });
  }

  async #drain(): Promise<void> {
    draining += 1;
    const end = performance.now() + drainMs;
    try {
      for (let size = 0; size < drainBytesMax; ) {
        const chunk = await inTime(this.#next(), end - performance.now(), tooSlow);
        if (chunk === null) return;
        size += chunk.byteLength;
        free(chunk);
      }
    } catch {
      // The client disconnected or the time is up. The connection closes either way.
    } finally {
      draining -= 1;
    }
  }

  /** Returns the next chunk, or null at the end. */
  async #next(): Promise<Uint8Array | null> {
    this.#reader ??= this.#request.body?.getReader();
    const { done, value } = (await this.#reader?.read()) ?? { done: true };
    if (done) this.#isPending = false;
    return value ?? null;
  }
}

/** Buffers a body for `use`, within the memory budget. Errors: those of `chunks`; unavailable if over the budget. */
export async function withBody<T>(
  chunks: AsyncIterable<Uint8Array>,
  use: (body: Uint8Array) => Promise<T>,
): Promise<T> {
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of chunks) {
      parts.push(chunk);
      hold(chunk.byteLength);
      size += chunk.byteLength;
    }
    return await use(parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts, size));
  } finally {
    for (const part of parts) free(part);
    held -= size;
  }
}
