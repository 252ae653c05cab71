import { baseUrl } from "../wire/address.ts";
import { Registered, registerBytesMax } from "../wire/api.ts";
import { bytesOf } from "../wire/encoding.ts";
import { isUnibusError, UnibusError } from "../wire/errors.ts";
import { exchange, isCleartext, unreached } from "./http.ts";
import type { Identity } from "./identity.ts";
import { contentOf } from "./reply.ts";

/** How long a bus may take to redeem an invite, in milliseconds. */
const registerTimeoutMs = 30_000;

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
  if (isCleartext(url)) {
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
  const body = bytesOf(JSON.stringify({ token, sign_pub, kex_pub, kex_sig }));
  const limits = { bytesMax: registerBytesMax, timeoutMs: registerTimeoutMs };
  try {
    return contentOf(Registered, await exchange(url, { method: "POST", target: "/register", body, ...limits }), url);
  } catch (error) {
    throw isUnibusError(error) ? error : unreached(url, error);
  }
}
