import { inTime } from "../contracts/deadline.ts";
import { bodiesBytesMax } from "../wire/api.ts";
import { UnibusError } from "../wire/errors.ts";

/** How long a body may take whatever its size, in milliseconds. */
const bodyGraceMs = 10_000;
/** What a sender must keep up after that, in bytes for each millisecond. */
const bodyRateMin = 64;

/** Bytes of all bodies in memory, over all requests. */
let held = 0;

function hold(bytes: number): void {
  if (held + bytes > bodiesBytesMax) {
    throw new UnibusError("unavailable", "the server holds too many request bodies (try again)", { retryAfterS: 1 });
  }
  held += bytes;
}

/** Whether a request says that a body follows its head. */
export function announcesBody(request: Request): boolean {
  return (request.headers.get("content-length") ?? "0") !== "0" || request.headers.has("transfer-encoding");
}

/** Refuses by the head alone what would be refused later: a declared size over the cap, an encoded body. */
export function checkDeclared(request: Request, bytesMax: number): void {
  if (Number(request.headers.get("content-length") ?? 0) > bytesMax) throw tooLarge(bytesMax);
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

/** What a body must keep to; `hash` is the sha256 in lowercase hex, where one was promised. */
export interface BodyRules {
  readonly bytesMax: number;
  readonly hash: string | null;
}

/**
 * A body, chunk by chunk, also the one too many; what ends without an error is the body that was promised.
 * Errors: too_large past the cap, timeout for one that trickles, invalid for one that breaks off or is another one.
 */
export async function* bodyChunks(request: Request, { bytesMax, hash }: BodyRules): AsyncGenerator<Uint8Array> {
  const hasher = hash === null ? null : new Bun.CryptoHasher("sha256");
  const reader = request.body?.getReader();
  const began = performance.now();
  let size = 0;
  try {
    while (reader !== undefined) {
      const left = bodyGraceMs + size / bodyRateMin - (performance.now() - began);
      const { done, value } = await inTime(reader.read().catch(brokenOff), left, tooSlow);
      if (done) break;
      size += value.byteLength;
      hasher?.update(value);
      yield value;
      if (size > bytesMax) throw tooLarge(bytesMax);
    }
    if (hasher !== null && hasher.digest("hex") !== hash) throw otherBody();
  } finally {
    // What is still to come is nobody's: the reply closes the connection.
    reader?.cancel().catch(() => undefined);
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
    for (const { buffer } of parts) (buffer as ArrayBuffer).transfer(0);
    held -= size;
  }
}
