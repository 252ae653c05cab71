import type { UserRole } from "../wire/api.ts";
import { token } from "./plugin.ts";
import type { InviteRecord, UserRecord } from "./store.ts";

/** An invite that was just created. The token exists nowhere else. */
export interface MadeInvite {
  readonly invite: InviteRecord;
  readonly token: string;
}

/** The token and keys of a person who redeems an invite. */
export interface Redeemer {
  readonly token: string;
  readonly signPub: string;
  readonly kexPub: string;
  readonly kexSig: string;
}

/** The rules for invites; routes and CLI commands both go through them. Source: docs/protocol/identity.md. */
export interface Invites {
  /**
   * Creates an invite. Its handle is stored in its normal form (`checkHandle`).
   * Units: `ttlS` in seconds. Errors: invalid for a handle that is not allowed; quota above 1,000 pending invites.
   */
  create(invite: { readonly handle: string; readonly role: UserRole; readonly ttlS: number }): Promise<MadeInvite>;
  /** The invites that can still be redeemed, in order of creation. */
  pending(): Promise<InviteRecord[]>;
  /** Cancels an invite. Errors: not_found if it is unknown or used. */
  cancel(id: string): Promise<void>;
  /**
   * Creates the invite's user, once. Within 10 minutes, a retry with the same token and keys gets the same reply.
   * Errors: invalid keys (the invite stays valid); not_found; gone if expired; conflict if used, or if the key is
   * registered already (which spends the invite).
   */
  redeem(redeemer: Redeemer): Promise<UserRecord>;
  /** Creates an invite for the first admin and replaces any earlier one. Returns null if there is an admin. */
  firstAdmin(): Promise<MadeInvite | null>;
}

/** The token of the invite service. */
export const Invites = token<Invites>("invites");
