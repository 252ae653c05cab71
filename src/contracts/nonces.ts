import { UnibusError } from "../wire/errors.ts";
import { token } from "./plugin.ts";

/**
 * A nonce journal that several nodes share: a nonce that one node admitted, no node admits again.
 * Source: docs/protocol/requests.md.
 */
export interface SharedNonces {
  /**
   * Spends a nonce on all nodes.
   * Shape: `nonce` is base64-std of 16 bytes; `user` is a key in hex. Units: `now` in milliseconds.
   * Errors: unauthenticated if the nonce was used before; unavailable if the store cannot decide.
   */
  claim(nonce: string, user: string, now: number): Promise<void>;
}

/** The token of the cluster's nonce journal. */
export const SharedNonces = token<SharedNonces>("shared-nonces");

/** The error for a nonce that was used before, on any node. */
export function usedNonce(): UnibusError {
  return new UnibusError("unauthenticated", "nonce already used (sign each request with a fresh one)");
}
