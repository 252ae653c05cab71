import { baseUrl, isLoopback } from "../wire/address.ts";
import { sha256Hex, toBase64 } from "../wire/encoding.ts";
import { UnibusError } from "../wire/errors.ts";
import { requestText, signatureHeaders } from "../wire/sign.ts";
import type { Detour } from "./detour.ts";
import type { Identity } from "./identity.ts";
import { bodyOf, refusalOf } from "./reply.ts";

/** How much of a refusal is read, in bytes. */
const refusalBytesMax = 65_536;

/** One request, and what its reply may cost. */
export interface Ask {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** path?query, exactly as it is sent. */
  readonly target: string;
  readonly body?: Uint8Array | undefined;
  /** JSON where nothing is said. */
  readonly contentType?: string;
  /** Who signs; nobody, where the route is for anyone. */
  readonly signer?: Identity | undefined;
  /** The time that is signed, in milliseconds since 1970. */
  readonly nowMs?: (() => number) | undefined;
  readonly bytesMax: number;
  /** For the request and its whole reply. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Where it is sent instead of to the bus's own URL. */
  readonly detour?: Detour | undefined;
}

/**
 * The address of a bus, to which targets are appended, its scheme and host in lower case.
 * Errors: invalid for what is no http or https URL, and for one with a user, a query or a fragment.
 */
export function busUrl(text: string): string {
  const base = baseUrl(text.trim());
  const url = base === null ? null : new URL(base);
  if (url === null || url.username !== "" || url.password !== "") {
    const hint = "write it as in https://bus.example.org";
    throw new UnibusError("invalid", `${JSON.stringify(text)} is not the address of a bus (${hint})`);
  }
  return `${url.protocol}//${url.host}${url.pathname.replace(/\/+$/, "")}`;
}

/** Whether requests to a bus, who sends them and what they name can be read on the way. Source: spec 9. */
export function isCleartext(url: string): boolean {
  const { protocol, hostname } = new URL(url);
  return protocol === "http:" && !isLoopback(hostname);
}

/** The headers of a signed request: a fresh nonce, and the host as it is dialled. Source: spec 5. */
function signedHeaders(
  base: string,
  { method, target, body, nowMs = Date.now }: Ask,
  signer: Identity,
): Record<string, string> {
  const { host } = new URL(base);
  const ts = String(Math.floor(nowMs() / 1000));
  const nonce = toBase64(crypto.getRandomValues(new Uint8Array(16)));
  const bodyHash = sha256Hex(body ?? "");
  return {
    [signatureHeaders.host]: host,
    [signatureHeaders.pub]: signer.signPubHex,
    [signatureHeaders.ts]: ts,
    [signatureHeaders.nonce]: nonce,
    [signatureHeaders.body]: bodyHash,
    [signatureHeaders.sig]: toBase64(signer.sign(requestText({ host, method, target, ts, nonce, bodyHash }))),
  };
}

/**
 * Sends a request to one bus, and gives the body of its success.
 * Errors: a UnibusError for whatever was answered and is no success; what the transport throws, as it comes, where
 * there was no whole answer. A redirect is no success: a signature, or a token, is for this bus alone.
 */
export async function exchange(base: string, ask: Ask): Promise<Uint8Array<ArrayBuffer>> {
  const { method, target, body, contentType = "application/json", signer, bytesMax, timeoutMs, signal } = ask;
  const limit = AbortSignal.timeout(timeoutMs);
  const route = await ask.detour?.route();
  const reply = await fetch(`${route?.origin ?? base}${target}`, {
    method,
    ...route?.init,
    headers: {
      ...route?.headers,
      ...(body === undefined ? {} : { "content-type": contentType }),
      ...(signer === undefined ? {} : signedHeaders(base, ask, signer)),
    },
    ...(body === undefined ? {} : { body: body as BodyInit }),
    redirect: "manual",
    credentials: "omit",
    cache: "no-store",
    signal: signal === undefined ? limit : AbortSignal.any([limit, signal]),
  });
  if (reply.ok) return bodyOf(reply, bytesMax, base);
  throw refusalOf(reply, await bodyOf(reply, refusalBytesMax, base), base);
}
