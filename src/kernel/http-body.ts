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
  const declared = request.headers.get("content-length");
  return (declared !== null && declared !== "0") || request.headers.has("transfer-encoding");
}

/** Refuses by the head alone what would be refused later: a declared size over the cap, an encoded body. */
export function checkDeclared(request: Request, bytesMax: number): void {
  const declared = Number(request.headers.get("content-length") ?? 0);
  if (declared > bytesMax) throw tooLarge(bytesMax);
  const encoding = request.headers.get("content-encoding");
  if (encoding !== null && encoding.toLowerCase() !== "identity") {
    throw new UnibusError("unsupported", `Content-Encoding ${encoding} is not taken (send the body as it is)`);
  }
}

const tooLarge = (bytesMax: number) => new UnibusError("too_large", `the body is over ${bytesMax} bytes (send less)`);

async function within<T>(work: Promise<T>, ms: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new UnibusError("timeout", "the body came too slowly (send it faster)");
    timer = setTimeout(() => reject(error), Math.max(0, ms));
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Reads a body, whole, and hands it to `use` while its bytes count against the budget of all bodies.
 * Errors: too_large past the cap, timeout for a sender that trickles, unavailable when the budget is spent.
 */
export async function withBody<T>(
  request: Request,
  bytesMax: number,
  use: (body: Uint8Array) => Promise<T>,
): Promise<T> {
  if (request.body === null) return use(new Uint8Array(0));
  const began = performance.now();
  const chunks: Uint8Array[] = [];
  let size = 0;
  const reader = request.body.getReader();
  try {
    for (;;) {
      const left = bodyGraceMs + size / bodyRateMin - (performance.now() - began);
      const { done, value } = await within(reader.read(), left);
      if (done) break;
      if (size + value.byteLength > bytesMax) throw tooLarge(bytesMax);
      hold(value.byteLength);
      size += value.byteLength;
      chunks.push(value);
    }
    return await use(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks, size));
  } finally {
    held -= size;
    // What is still to come is nobody's: the reply closes the connection.
    reader.cancel().catch(() => undefined);
  }
}
