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

/** How an invite is redeemed. */
export interface RegisterOptions {
  /** HOST:PORT at which the bus is dialled instead of at its URL. */
  readonly dial?: string | undefined;
  /** Whether the bus's clock is followed however far it is off. Default: false. */
  readonly busClock?: boolean | undefined;
  /** Called with what the user should know. */
  readonly onWarning?: (message: string) => void;
}

/**
 * Redeems an invite for an identity. The private keys stay here. The clocks are compared first, and the bus is asked
 * whether it knows the key: an invite is spent only on somebody who can use it.
 * Errors: clock_skew for clocks that are too far apart, and conflict for a key that is a user already: both leave the
 * invite as it is; what the bus answers; unavailable when it cannot be reached; invalid for what cannot be dialled.
 */
export async function register(
  { url, token }: JoinLink,
  identity: Identity,
  options: RegisterOptions = {},
): Promise<Registered> {
  const { dial } = options;
  const detour = dial === undefined ? undefined : new Detour(url, dial);
  const user = await userOf(url, identity, options);
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
async function userOf(
  url: string,
  identity: Identity,
  options: RegisterOptions,
): Promise<{ readonly handle: string } | null> {
  const control = new ControlPlane({ urls: [url], identity, ...options });
  await control.info();
  try {
    const { members } = await control.directory({ endpoint: identity.endpoint });
    return members.find(({ endpoint }) => endpoint === identity.endpoint) ?? null;
  } catch (error) {
    if (hasCode(error, "unauthenticated")) return null;
    throw error;
  }
}
