import type { UserRole } from "../wire/api.ts";
import { token } from "./plugin.ts";
import type { UserRecord } from "./store.ts";

/** A user to be added. */
export interface NewUser {
  readonly signPub: string;
  readonly handle: string;
  readonly role: UserRole;
  /** Both keys or neither. */
  readonly kexPub?: string | undefined;
  readonly kexSig?: string | undefined;
}

/** The rules for users; routes, invites and CLI commands all go through them. Source: docs/protocol/identity.md. */
export interface Users {
  /**
   * Adds a user. The handle is stored in its normal form (`checkHandle`).
   * Errors: invalid for a handle or keys that are not allowed; conflict if the key is known, even as a revoked user's.
   */
  add(user: NewUser): Promise<UserRecord>;
  /**
   * Adds a user whose input is already validated: the keys by `checkSignKey` and `checkKexKey`, the handle when its
   * invite was made. Errors: conflict, as in `add`.
   */
  admit(user: NewUser & { readonly kexPub: string; readonly kexSig: string }): Promise<UserRecord>;
  /**
   * Changes a user's handle, including in all of the user's rooms. Returns it in its normal form (`checkHandle`), which
   * is stored.
   * Errors: invalid for a handle that is not allowed; not_found. Idempotent: call it again after a failure.
   */
  rename(signPub: string, handle: string): Promise<string>;
  /** Revokes a user. Errors: not_found; conflict for the last active admin if `keepAdmin` is set. Idempotent. */
  revoke(signPub: string, options: { readonly keepAdmin: boolean }): Promise<void>;
  /**
   * Makes a revoked user active again, with the same role. Memberships that ended with the revocation stay ended: an
   * owner adds the user again. Errors: not_found. Idempotent.
   */
  restore(signPub: string): Promise<void>;
  /** Deletes the user's row. Memberships remain, without effect. Errors: as in `revoke`. */
  remove(signPub: string, options: { readonly keepAdmin: boolean }): Promise<void>;
  /** A page of all users by key, after `after`, including revoked ones. */
  list(after: string | null, limit: number): Promise<UserRecord[]>;
}

/** The token of the user service. */
export const Users = token<Users>("users");
