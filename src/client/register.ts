import { Registered, registerBytesMax } from "../wire/api.ts";
import { bytesOf } from "../wire/encoding.ts";
import { hasCode, isUnibusError, UnibusError } from "../wire/errors.ts";
import { ControlPlane } from "./control.ts";
import { Detour } from "./detour.ts";
import { unreached } from "./fetch-fault.ts";
import { exchange } from "./http.ts";
import type { Identity } from "./identity.ts";
import type { JoinLink } from "./join-link.ts";
import { contentOf } from "./reply.ts";

/** How long a bus may take to redeem an invite, in milliseconds. */
const registerTimeoutMs = 30_000;

/**
 * Redeems an invite for an identity. The private keys stay here. The bus is asked first whether it knows the key: an
 * invite is spent only on somebody who can use it.
 * `dial`: where the bus is dialled instead of at its URL.
 * Errors: conflict for a key that is a user already, whose invite stays as it is; what the bus answers; unavailable
 * when it cannot be reached; invalid for what cannot be dialled.
 */
export async function register(
  { url, token }: JoinLink,
  identity: Identity,
  { dial }: { readonly dial?: string | undefined } = {},
): Promise<Registered> {
  const detour = dial === undefined ? undefined : new Detour(url, dial);
  const user = await userOf(url, identity, dial);
  if (user !== null) {
    const who = `this identity is already a user of ${url}, ${JSON.stringify(user.handle)}`;
    throw new UnibusError("conflict", `${who} (the invite was not used: pass it on, or join with another identity)`);
  }
  const { signPubHex: sign_pub, kexPubHex: kex_pub, kexSig: kex_sig } = identity;
  const body = bytesOf(JSON.stringify({ token, sign_pub, kex_pub, kex_sig }));
  const limits = { bytesMax: registerBytesMax, timeoutMs: registerTimeoutMs };
  try {
    return contentOf(
      Registered,
      await exchange(url, { method: "POST", target: "/register", body, detour, ...limits }),
      url,
    );
  } catch (error) {
    throw isUnibusError(error) ? error : unreached(url, error);
  }
}

/** The user whose key an identity is, or null. Errors: those of the bus, and unavailable. */
async function userOf(url: string, identity: Identity, dial?: string): Promise<{ readonly handle: string } | null> {
  const control = new ControlPlane({ urls: [url], identity, dial });
  await control.info();
  try {
    const { members } = await control.directory({ endpoint: identity.endpoint });
    return members.find(({ endpoint }) => endpoint === identity.endpoint) ?? null;
  } catch (error) {
    if (hasCode(error, "unauthenticated")) return null;
    throw error;
  }
}
