import type { UserRole } from "../wire/api.ts";
import { token } from "./plugin.ts";
import type { UserRecord } from "./store.ts";

/** A user to be. */
export interface NewUser {
  readonly signPub: string;
  readonly handle: string;
  readonly role: UserRole;
  /** Both or none. */
  readonly kexPub?: string | undefined;
  readonly kexSig?: string | undefined;
}

/** The rules about users, whoever asks: a route, an invite, a command on the host. Source: spec 7. */
export interface Users {
  /**
   * Adds a user; the handle is stored in its normal form (`checkHandle`).
   * Errors: invalid for a handle or keys that may not be used; conflict when the key is known, whatever its status.
   */
  add(user: NewUser): Promise<UserRecord>;
  /**
   * Adds a user whose keys were checked by `checkSignKey` and `checkKexKey`, and whose handle an invite carries: it was
   * checked when the invite was made. Errors: conflict as of `add`.
   */
  admit(user: NewUser & { readonly kexPub: string; readonly kexSig: string }): Promise<UserRecord>;
  /**
   * Gives a user another handle, in its normal form (`checkHandle`), also in the rooms that it is in.
   * Errors: invalid for a handle that may not be used; not_found. Idempotent: after a failure it is called again.
   */
  rename(signPub: string, handle: string): Promise<void>;
  /** Errors: not_found; conflict for the last active admin where `keepAdmin` is asked. Idempotent. */
  revoke(signPub: string, options: { readonly keepAdmin: boolean }): Promise<void>;
  /** Removes the row; memberships stay, inert. Errors as of `revoke`. */
  remove(signPub: string, options: { readonly keepAdmin: boolean }): Promise<void>;
  /** A page of all users, also the revoked, by key, those after `after`. */
  list(after: string | null, limit: number): Promise<UserRecord[]>;
}

/** The users' rules. */
export const Users = token<Users>("users");
