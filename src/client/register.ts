import { baseUrl, isLoopback } from "../wire/address.ts";
import type { Registered } from "../wire/api.ts";
import { type ErrorCode, statusOf, UnibusError } from "../wire/errors.ts";
import type { Identity } from "./identity.ts";

/** What a join link says. */
export interface JoinLink {
  /** The URL of the bus. */
  readonly url: string;
  readonly token: string;
}

/**
 * Reads a join link, `<url>/join#<token>`.
 * Errors: invalid for what is none, and for plain http to another machine, which would show the token to the way.
 */
export function parseJoinLink(link: string): JoinLink {
  const [, base, token] = /^(\S+)\/join#([0-9a-fA-F]{64})$/.exec(link.trim()) ?? [];
  const url = base === undefined ? null : baseUrl(base);
  if (url === null || token === undefined) {
    throw new UnibusError("invalid", "that is no join link (paste it whole, as in https://bus.example.org/join#...)");
  }
  if (url.startsWith("http:") && !isLoopback(new URL(url).hostname)) {
    throw new UnibusError("invalid", `${url} is not encrypted on the way (ask for an https link)`);
  }
  return { url, token };
}

/**
 * Redeems an invite for an identity. The private keys stay here.
 * Errors: what the bus answers; unavailable when it cannot be reached.
 */
export async function register({ url, token }: JoinLink, identity: Identity): Promise<Registered> {
  const { signPubHex: sign_pub, kexPubHex: kex_pub, kexSig: kex_sig } = identity;
  const body = JSON.stringify({ token, sign_pub, kex_pub, kex_sig });
  const headers = { "content-type": "application/json" };
  // The token is for this bus alone: it is not sent on to wherever a reply points.
  const request = { method: "POST", headers, body, redirect: "manual" } as const;
  const reply = await fetch(`${url}/register`, request).catch((error: unknown) => {
    throw new UnibusError("unavailable", `${url} cannot be reached (is the bus running there?)`, { cause: error });
  });
  const answer = (await reply.json().catch(() => null)) as (Registered & { error?: string; code?: string }) | null;
  if (reply.ok && answer !== null) return answer;
  const isCode = (code: string | undefined): code is ErrorCode => code !== undefined && Object.hasOwn(statusOf, code);
  const code = isCode(answer?.code) ? answer.code : "unavailable";
  throw new UnibusError(code, answer?.error ?? `${url} answered ${reply.status}, which is no answer of a bus`);
}
