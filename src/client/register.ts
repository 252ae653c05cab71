import { type Registered, registerBytesMax } from "../wire/api.ts";
import { bytesOf } from "../wire/encoding.ts";
import { hasCode, isUnibusError, UnibusError } from "../wire/errors.ts";
import { routes } from "../wire/routes.ts";
import type { Identity } from "./crypto/identity.ts";
import type { JoinLink } from "./join-link.ts";
import { ControlPlane } from "./transport/control.ts";
import { Detour } from "./transport/detour.ts";
import { unreached } from "./transport/fetch-fault.ts";
import { exchange } from "./transport/http.ts";
import { contentOf } from "./transport/http-reply.ts";

/** Timeout to redeem an invite, in milliseconds. */
const registerTimeoutMs = 30_000;

/** The options of `register`. */
export interface RegisterOptions {
  /** HOST:PORT to dial instead of the bus's URL. */
  readonly dial?: string | undefined;
  /** Follows the server's clock however large the offset is. Default: false. */
  readonly busClock?: boolean | undefined;
  /** Called with warnings for the user. */
  readonly onWarning?: (message: string) => void;
}

/**
 * Redeems an invite for an identity. The private keys stay on this machine. It first compares the clocks, and checks
 * that the key is not registered yet, so that no invite is wasted.
 * Errors: clock_skew if the clocks differ too much, and conflict if the key already belongs to a user, both without
 * using the invite; what the server answers; unavailable if it cannot be reached; invalid for an address that cannot be
 * dialled.
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
    throw new UnibusError("conflict", `${who} (the invite is still unused: pass it on, or join with another identity)`);
  }
  const { signPubHex: sign_pub, kexPubHex: kex_pub, kexSig: kex_sig } = identity;
  const body = bytesOf(JSON.stringify({ token, sign_pub, kex_pub, kex_sig }));
  const { method, path: target, reply } = routes.invites.register;
  const limits = { bytesMax: registerBytesMax, timeoutMs: registerTimeoutMs };
  try {
    return contentOf(reply, await exchange(url, { method, target, body, detour, ...limits }), url);
  } catch (error) {
    throw isUnibusError(error) ? error : unreached(url, error);
  }
}

/** The user with the identity's key, or null. Errors: those of the server, and unavailable. */
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
