import { baseUrl, isLoopback, isNatsUrl } from "../../wire/address.ts";
import { sha256Hex, toBase64 } from "../../wire/encoding.ts";
import { UnibusError } from "../../wire/errors.ts";
import { requestText, signatureHeaders } from "../../wire/sign.ts";
import type { Identity } from "../crypto/identity.ts";
import type { Detour } from "./detour.ts";
import { bodyOf, refusalOf } from "./http-reply.ts";

/** The maximum number of bytes read of an error reply. */
const refusalBytesMax = 65_536;

/** One request, and the limits of its reply. */
export interface Ask {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** path?query, exactly as it is sent. */
  readonly target: string;
  readonly body?: Uint8Array | undefined;
  /** The sha256 of the body in hex, if the caller knows it. */
  readonly bodyHash?: string | undefined;
  /** Default: JSON. */
  readonly contentType?: string;
  /** Signs the request; undefined for a public route. */
  readonly signer?: Identity | undefined;
  /** The time to sign, in milliseconds since 1970. */
  readonly nowMs?: (() => number) | undefined;
  readonly bytesMax: number;
  /** For the request and its whole reply. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Where to send the request instead of to the bus's own URL. */
  readonly detour?: Detour | undefined;
}

/**
 * Normalizes the address of a bus, to which targets are appended: scheme and host in lower case.
 * Errors: invalid if it is not an http or https URL, or has a user, a query or a fragment.
 */
export function busUrl(text: string): string {
  const base = baseUrl(text.trim());
  const url = base === null ? null : new URL(base);
  if (url === null || url.username !== "" || url.password !== "") {
    const hint = "write it as in https://bus.example.org";
    throw new UnibusError("invalid", `${JSON.stringify(text)} is not a server address (${hint})`);
  }
  return `${url.protocol}//${url.host}${url.pathname.replace(/\/+$/, "")}`;
}

/** Whether requests to a URL, including sender and target, can be read on the way. Source: docs/protocol/logins.md. */
export function isCleartext(url: string): boolean {
  const { protocol, hostname } = new URL(url);
  return protocol === "http:" && !isLoopback(hostname);
}

/** The public URL that a bus names for links, or null for what is not usable, or is cleartext where that is refused. */
export function publicUrlOf(named: string | undefined, allowsCleartext: boolean): string | null {
  const url = baseUrl(named ?? "");
  return url !== null && (allowsCleartext || url.startsWith("https:")) ? new URL(url).href : null;
}

/** Maximum number of data-plane addresses of one kind that an address of the bus may list. */
const dataUrlsMax = 64;

/**
 * The data-plane URLs that a client dials, out of those that a server announces: NATS URLs, without cleartext ones
 * where these are refused. Their number is limited, so that a server cannot make clients dial other machines at will.
 */
export function dataUrlsOf(named: readonly string[], allowsCleartext: boolean): string[] {
  const isAllowed = (url: string) => isNatsUrl(url) && (allowsCleartext || /^(tls|wss):/.test(url));
  return named.filter(isAllowed).slice(0, dataUrlsMax);
}

/** The headers of a signed request, with a fresh nonce and the host of the URL. Source: docs/protocol/requests.md. */
async function signedHeaders(
  base: string,
  { method, target, body, bodyHash = sha256Hex(body ?? ""), nowMs = Date.now }: Ask,
  signer: Identity,
): Promise<Record<string, string>> {
  const { host } = new URL(base);
  const ts = String(Math.floor(nowMs() / 1000));
  const nonce = toBase64(crypto.getRandomValues(new Uint8Array(16)));
  const sig = await signer.sign(requestText({ host, method, target, ts, nonce, bodyHash }));
  return {
    [signatureHeaders.host]: host,
    [signatureHeaders.pub]: signer.signPubHex,
    [signatureHeaders.ts]: ts,
    [signatureHeaders.nonce]: nonce,
    [signatureHeaders.body]: bodyHash,
    [signatureHeaders.sig]: toBase64(sig),
  };
}

/**
 * Sends a request to one address, and returns the body of a successful reply.
 * Errors: a UnibusError for every other reply; the transport's own error if there was no complete reply. A redirect is
 * an error: a signature or token is meant for this bus only.
 */
export async function exchange(base: string, ask: Ask): Promise<Uint8Array<ArrayBuffer>> {
  const { method, target, body, contentType = "application/json", signer, bytesMax, timeoutMs, signal } = ask;
  const limit = AbortSignal.timeout(timeoutMs);
  const route = await ask.detour?.route();
  const signed = signer === undefined ? {} : await signedHeaders(base, ask, signer);
  const reply = await fetch(`${route?.origin ?? base}${target}`, {
    method,
    ...route?.init,
    headers: {
      ...route?.headers,
      ...(body === undefined ? {} : { "content-type": contentType }),
      ...signed,
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
