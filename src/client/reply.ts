import type { Static, TSchema } from "@sinclair/typebox";
import { Check } from "@sinclair/typebox/value";
import { isReplyCode, UnibusError } from "../wire/errors.ts";
import { requestIdHeader } from "../wire/sign.ts";

/** The longest message of a reply that an error repeats, in characters. */
const messageLengthMax = 500;
/** The longest pause that a reply may ask for, in seconds. */
const retryAfterSMax = 3_600;

const bad = (url: string, what: string): UnibusError =>
  new UnibusError("unavailable", `${url} ${what}: this is not a unibus server (check the address)`);

/** What is wrong where a status came without an error of the API. */
function strangeStatus(url: string, status: number): string {
  return passingStatuses.has(status)
    ? `${url} answered ${status}: its proxy cannot reach the bus (start the bus, or correct the proxy's target)`
    : `${url} answered ${status}: this is not a unibus server (check the address, and http or https)`;
}

/** A text of somebody else as a terminal may show it: cut, and without what would steer it. */
function plain(text: string): string {
  const line = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ").trim();
  return line.length > messageLengthMax ? `${line.slice(0, messageLengthMax)}...` : line;
}

/**
 * The body of a reply, read to its end or to `bytesMax`.
 * Errors: unavailable for one byte more; whatever cuts the transport, as it comes.
 */
export async function bodyOf(reply: Response, bytesMax: number, url: string): Promise<Uint8Array<ArrayBuffer>> {
  const reader = reply.body?.getReader();
  const chunks: Uint8Array[] = [];
  let size = 0;
  while (reader !== undefined) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.byteLength;
    if (size > bytesMax) {
      await reader.cancel().catch(() => undefined);
      throw bad(url, `answered more than ${bytesMax} bytes`);
    }
    chunks.push(value);
  }
  const body = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    body.set(chunk, at);
    at += chunk.byteLength;
  }
  return body;
}

function jsonOf(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    return undefined;
  }
}

/** The error that a refusal says, with the request's id and when to try again. */
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

/** Statuses of a server, or of a proxy before it, that cannot answer for the moment. */
const passingStatuses: ReadonlySet<number> = new Set([502, 503, 504]);
const passing = new WeakSet<Error>();

/** Whether an error is the refusal of a server that cannot answer for the moment: it may a moment later. */
export function isPassing(error: Error): boolean {
  return passing.has(error);
}

const openSchemas = new WeakMap<object, unknown>();

/** A schema that does not mind fields which a newer bus may add. */
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

/** What a body says. Errors: unavailable when it is not what the schema wants, fields that it does not name apart. */
export function contentOf<S extends TSchema>(schema: S, body: Uint8Array, url: string): Static<S> {
  const content = jsonOf(body);
  if (!Check(openSchema(schema), content)) throw bad(url, "answered something that is not in the API");
  return content as Static<S>;
}
