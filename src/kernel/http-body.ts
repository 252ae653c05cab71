import { inTime } from "../contracts/deadline.ts";
import { bodiesBytesMax } from "../wire/api.ts";
import { UnibusError } from "../wire/errors.ts";

/** How long a body may take whatever its size, in milliseconds. */
const bodyGraceMs = 10_000;
/** What a sender must keep up after that, in bytes for each millisecond. */
const bodyRateMin = 64;

/** How much of a refused body is read and thrown away, in bytes, and for how long, in milliseconds. Source: spec 5. */
const drainBytesMax = 16 * 1_048_576;
const drainMs = 2_000;
/** Refused bodies that are read at the same time; beyond that the connection closes at once. */
const drainsMax = 32;

/** Refused bodies that are being read. */
let draining = 0;
/** Bytes of all bodies in memory, over all requests. */
let held = 0;

function hold(bytes: number): void {
  if (held + bytes > bodiesBytesMax) {
    throw new UnibusError("unavailable", "the server holds too many request bodies (try again)", { retryAfterS: 1 });
  }
  held += bytes;
}

/** The size that a request declares, in bytes; null where it declares none. */
export function declaredSize({ headers }: Request): number | null {
  const declared = headers.get("content-length");
  return declared === null ? null : Number(declared);
}

/** Refuses by the head alone what would be refused later: a declared size over the cap, an encoded body. */
export function checkDeclared(request: Request, bytesMax: number): void {
  if ((declaredSize(request) ?? 0) > bytesMax) throw tooLarge(bytesMax);
  const encoding = request.headers.get("content-encoding");
  if (encoding !== null && encoding.toLowerCase() !== "identity") {
    throw new UnibusError("unsupported", `Content-Encoding ${encoding} is not taken (send the body as it is)`);
  }
}

const tooLarge = (bytesMax: number) => new UnibusError("too_large", `the body is over ${bytesMax} bytes (send less)`);

/** The error for a body that is not the one that was signed. */
export function otherBody(): UnibusError {
  return new UnibusError("invalid", "the body is not the one that X-Unibus-Body promises (send the body you signed)");
}

const brokenOff = (cause: unknown) =>
  Promise.reject(new UnibusError("invalid", "the body broke off (send all of it)", { cause }));
const tooSlow = () => new UnibusError("timeout", "the body came too slowly (send it faster)");

/** Gives the memory of bytes back at once: the garbage collector would wait until much more is in use. */
function free({ buffer }: Uint8Array): void {
  (buffer as ArrayBuffer).transfer(0);
}

/** What a body must keep to; `hash` is the sha256 in lowercase hex, where one was promised. */
export interface BodyRules {
  readonly bytesMax: number;
  readonly hash: string | null;
}

/** The body of one request: read by its route, or read and thrown away once the request is refused. */
export class RequestBody {
  readonly #request: Request;
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #isPending: boolean;

  constructor(request: Request) {
    this.#request = request;
    const { headers } = request;
    this.#isPending = (headers.get("content-length") ?? "0") !== "0" || headers.has("transfer-encoding");
  }

  /** Whether bytes may still come: the head announced a body, and its end was not read. */
  get isPending(): boolean {
    return this.#isPending;
  }

  /**
   * A body, chunk by chunk, also the one too many; what ends without an error is the body that was promised.
   * Errors: too_large past the cap, timeout for one that trickles, invalid for one that breaks off or is another one.
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

  /** Leaves the rest of a body that a route answered without reading it all. */
  leave(): void {
    if (this.#isPending) this.#reader?.cancel().catch(() => undefined);
  }

  /**
   * A refusal as the body of its reply. While bytes of the request may still come, the reply is sent at once but ends
   * only when they have been read and thrown away, at most 16 MiB in at most 2 s: a connection that is closed with
   * unread bytes is reset, and a client that writes all of its request before it reads would never see the reply.
   * Source: spec 5.
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
          // The client went away first, and the stream with it.
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
      // The client is gone, or its time is over: the connection closes either way.
    } finally {
      draining -= 1;
    }
  }

  /** The next chunk, or null at the end. */
  async #next(): Promise<Uint8Array | null> {
    this.#reader ??= this.#request.body?.getReader();
    const { done, value } = (await this.#reader?.read()) ?? { done: true };
    if (done) this.#isPending = false;
    return value ?? null;
  }
}

/**
 * Reads a body, whole, for `use`, and frees it after. Meanwhile its bytes count against the budget of all bodies.
 * Errors: as of `bodyChunks`; unavailable when the budget is spent.
 */
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
