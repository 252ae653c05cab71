import { UnibusError } from "../wire/errors.ts";
import { token } from "./plugin.ts";

/** Nonces that several nodes share: what one of them admitted, none admits again. Source: spec 5. */
export interface SharedNonces {
  /**
   * Spends a nonce. Once it is spent here, it is on every node.
   * Shape: `nonce` base64-std of 16 bytes; `user` a key in hex. Units: `now` in milliseconds.
   * Errors: unauthenticated when it was used; unavailable when nobody can say.
   */
  claim(nonce: string, user: string, now: number): Promise<void>;
}

/** The nonces of a cluster. */
export const SharedNonces = token<SharedNonces>("shared-nonces");

/** The error for a nonce that was used, on whichever node. */
export function usedNonce(): UnibusError {
  return new UnibusError("unauthenticated", "this nonce was used before (sign each request with a fresh one)");
}
