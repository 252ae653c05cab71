import type { UserRole } from "../wire/api.ts";
import { token } from "./plugin.ts";
import type { InviteRecord, UserRecord } from "./store.ts";

/** An invite that was just made. The token is nowhere else. */
export interface MadeInvite {
  readonly invite: InviteRecord;
  readonly token: string;
}

/** The keys of somebody who redeems an invite. */
export interface Redeemer {
  readonly token: string;
  readonly signPub: string;
  readonly kexPub: string;
  readonly kexSig: string;
}

/** The rules about invites, whoever asks: a route, or a command on the host. Source: spec 7. */
export interface Invites {
  /**
   * Makes an invite; its handle is stored in its normal form (`checkHandle`).
   * Units: `ttlS` in seconds. Errors: invalid for a handle that may not be used; quota past 1,000 pending invites.
   */
  create(invite: { readonly handle: string; readonly role: UserRole; readonly ttlS: number }): Promise<MadeInvite>;
  /** Those that can still be redeemed, by creation. */
  pending(): Promise<InviteRecord[]>;
  /** Errors: not_found for one that is unknown or used. */
  cancel(id: string): Promise<void>;
  /**
   * Makes the invite's user, once. The same token and keys are answered again for 10 minutes.
   * Errors: invalid keys (the invite stays good); not_found; gone when expired; conflict when used, or when the key is
   * registered (the invite is spent).
   */
  redeem(redeemer: Redeemer): Promise<UserRecord>;
  /** An invite for the first admin, in place of any made before; null where there is an admin. */
  firstAdmin(): Promise<MadeInvite | null>;
}

/** The invites' rules. */
export const Invites = token<Invites>("invites");
