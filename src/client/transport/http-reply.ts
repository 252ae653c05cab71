import type { Static, TSchema } from "@sinclair/typebox";
import { Check } from "@sinclair/typebox/value";
import { free } from "../../lib/free.ts";
import { isReplyCode, UnibusError } from "../../wire/errors.ts";
import { requestIdHeader } from "../../wire/sign.ts";

/** The maximum length of a server's message quoted in an error, in characters. */
const messageLengthMax = 500;
/** What is allocated at first for a reply of unknown length, in bytes. */
const firstBytes = 65_536;
/** The longest Retry-After that is accepted, in seconds. */
const retryAfterSMax = 3_600;

const bad = (url: string, what: string): UnibusError =>
  new UnibusError("unavailable", `${url} ${what}: this is not a unibus server (check the address)`);

/** What is wrong with a reply whose status is not explained by an error of the API. */
function strangeStatus(url: string, status: number): string {
  return passingStatuses.has(status)
    ? `${url} answered ${status}: the proxy cannot reach the server (start the server, or correct the proxy's target)`
    : `${url} answered ${status}: this is not a unibus server (check the address, and http or https)`;
}

/** Makes untrusted text safe for a terminal: truncated, without control characters. */
function plain(text: string): string {
  const line = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ").trim();
  return line.length > messageLengthMax ? `${line.slice(0, messageLengthMax)}...` : line;
}

/**
 * Reads the body of a reply, up to `bytesMax`.
 * Errors: unavailable if it is longer; the transport's own error if the reply is interrupted.
 */
export async function bodyOf(reply: Response, bytesMax: number, url: string): Promise<Uint8Array<ArrayBuffer>> {
  const reader = reply.body?.getReader();
  // A large reply is stored once, not as chunks and then again as a whole.
  const declared = Number(reply.headers.get("content-length")) || firstBytes;
  let body = new Uint8Array(Math.min(declared, bytesMax));
  let size = 0;
  while (reader !== undefined) {
    const { done, value } = await reader.read();
    if (done) break;
    const end = size + value.byteLength;
    if (end > bytesMax) {
      await reader.cancel().catch(() => undefined);
      throw bad(url, `returned more than ${bytesMax} bytes`);
    }
    if (end > body.length) {
      const larger = new Uint8Array(Math.min(Math.max(end, 2 * body.length), bytesMax));
      larger.set(body);
      body = larger;
    }
    body.set(value, size);
    free(value);
    size = end;
  }
  return size === body.length ? body : body.slice(0, size);
}

function jsonOf(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    return undefined;
  }
}

/** Converts an error reply to a UnibusError, with the request's id and Retry-After. */
export function refusalOf(reply: Response, body: Uint8Array, url: string): UnibusError {
  const { error, code, details } = (jsonOf(body) ?? {}) as { error?: unknown; code?: unknown; details?: unknown };
  const message = typeof error === "string" ? plain(error) : "";
  const pauseS = /^\d{1,9}$/.exec(reply.headers.get("retry-after") ?? "")?.[0];
  const requestId = /^[\w-]{1,64}$/.exec(reply.headers.get(requestIdHeader) ?? "")?.[0];
  const refusal = new UnibusError(
    isReplyCode(code) ? code : "unavailable",
    message || strangeStatus(url, reply.status),
    {
      requestId,
      retryAfterS: pauseS === undefined ? undefined : Math.min(Number(pauseS), retryAfterSMax),
      details: typeof details === "object" && details !== null ? { ...details } : undefined,
    },
  );
  if (passingStatuses.has(reply.status)) passing.add(refusal);
  return refusal;
}

/** Statuses of a server, or of a proxy in front of it, that is temporarily unable to answer. */
const passingStatuses: ReadonlySet<number> = new Set([502, 503, 504]);
const passing = new WeakSet<Error>();

/** Whether an error came from a server that is temporarily unable to answer. */
export function isPassing(error: Error): boolean {
  return passing.has(error);
}

const openSchemas = new WeakMap<object, unknown>();

/** Relaxes a schema to allow unknown fields, which a newer server may add. */
function openSchema<S>(schema: S): S {
  if (typeof schema !== "object" || schema === null) return schema;
  const known = openSchemas.get(schema);
  if (known !== undefined) return known as S;
  const made = (Array.isArray(schema) ? [...schema] : { ...schema }) as Record<string, unknown>;
  for (const key of Object.keys(made)) made[key] = openSchema(made[key]);
  if (made.additionalProperties === false) delete made.additionalProperties;
  openSchemas.set(schema, made);
  return made as S;
}

/** Parses a body. Errors: unavailable if it does not match the schema; unknown fields are allowed. */
export function contentOf<S extends TSchema>(schema: S, body: Uint8Array, url: string): Static<S> {
  const content = jsonOf(body);
  if (!Check(openSchema(schema), content)) throw bad(url, "returned an invalid reply");
  return content as Static<S>;
}
