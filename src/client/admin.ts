/**
 * What an admin does over the API: users, invites, and the lists of rooms, connections and usage. Every call is a
 * request signed by this peer, which the server answers only to an active admin. `bus.admin` is the instance of a bus.
 * The server's word is not verified: a list shows what the server says.
 */
import type { Static } from "@sinclair/typebox";
import type { AdminConnection, AdminRoom, AdminUsage } from "../wire/admin-api.ts";
import type { InviteCreated, InviteList, UserList, UserRole } from "../wire/api.ts";
import { UnibusError } from "../wire/errors.ts";
import { routes } from "../wire/routes.ts";
import type { ControlPlane } from "./transport/control.ts";

/** A user, as admins see one: with status and times. */
export type AdminUser = Static<typeof UserList>["users"][number];
/** A pending invite. Its token is not stored anywhere. */
export type PendingInvite = Static<typeof InviteList>["invites"][number];
/** An invite that was just created: with its token and its link, which are shown only once. */
export type CreatedInvite = Static<typeof InviteCreated>;

/** A user to add by public keys. Without the kex key the user sets it at the first connection. */
export interface UserToAdd {
  readonly handle: string;
  readonly sign_pub: string;
  /** Default: member. */
  readonly role?: UserRole;
  /** Both or neither. */
  readonly kex_pub?: string;
  readonly kex_sig?: string;
}

/** An invite to create. */
export interface InviteToCreate {
  readonly handle: string;
  /** Default: member. */
  readonly role?: UserRole;
  /** Lifetime in seconds. Default: 7 days. */
  readonly ttl_s?: number;
}

/** The options of a list. */
export interface AdminListOptions {
  readonly signal?: AbortSignal;
}

/** The most pages of one list that are read. */
const pagesMaxDefault = 10_000;

/** Whether a cursor comes after another one. Cursors are numbers, or have a fixed length. */
const isAfter = (cursor: string, before: string): boolean =>
  cursor.length === before.length ? cursor > before : cursor.length > before.length;

/**
 * Yields the rows of all pages. `read` returns one page and the cursor of the next one, or null at the end.
 * Errors: unavailable if the list does not end, because the cursors do not ascend or there are too many pages.
 */
async function* rowsOf<T>(
  read: (after: string | undefined) => Promise<{ readonly rows: readonly T[]; readonly next: string | null }>,
  pagesMax: number,
): AsyncGenerator<T> {
  let after: string | undefined;
  for (let count = 0; count < pagesMax; count++) {
    const { rows, next } = await read(after);
    yield* rows;
    if (next === null) return;
    if (after !== undefined && !isAfter(next, after)) break;
    after = next;
  }
  throw new UnibusError("unavailable", "the server's list does not end (do not trust it)");
}

/** Users, for admins. Users are named by their `sign_pub`. Errors: forbidden for anyone but an active admin. */
export class AdminUsers {
  constructor(
    private readonly control: ControlPlane,
    private readonly pagesMax = pagesMaxDefault,
  ) {}

  /** Every user, including revoked ones, by sign_pub. Reads the next page when it is needed. */
  list({ signal }: AdminListOptions = {}): AsyncGenerator<AdminUser> {
    return rowsOf(async (after) => {
      const limits = { signal, size: "page" } as const;
      const { users, more } = await this.control.send(routes.users.list, { query: { after } }, limits);
      return { rows: users, next: more ? (users.at(-1)?.sign_pub ?? null) : null };
    }, this.pagesMax);
  }

  /** Adds a user, and returns the user's endpoint. Errors: conflict if the key is known, even as a revoked user's. */
  async add({ role = "member", ...user }: UserToAdd, signal?: AbortSignal): Promise<string> {
    return (await this.control.send(routes.users.add, { body: { ...user, role } }, { signal })).endpoint;
  }

  /** Gives a user another handle, also in all rooms. Errors: not_found; invalid for a handle that is not allowed. */
  async rename(signPub: string, handle: string, signal?: AbortSignal): Promise<void> {
    return this.control.send(routes.users.rename, { params: { sign_pub: signPub }, body: { handle } }, { signal });
  }

  /** Ends a user's access at once. The key cannot join again. Errors: not_found; conflict for the last admin. */
  async revoke(signPub: string, signal?: AbortSignal): Promise<void> {
    return this.control.send(routes.users.revoke, { params: { sign_pub: signPub } }, { signal });
  }

  /** Makes a revoked user active again. Rooms that the user left stay left. Errors: not_found. */
  async restore(signPub: string, signal?: AbortSignal): Promise<void> {
    return this.control.send(routes.users.restore, { params: { sign_pub: signPub } }, { signal });
  }

  /** Removes a user at once. The key may join again by a new invite. Errors: not_found; conflict for the last admin. */
  async delete(signPub: string, signal?: AbortSignal): Promise<void> {
    return this.control.send(routes.users.remove, { params: { sign_pub: signPub } }, { signal });
  }
}

/** Invites, for admins. Errors: forbidden for anyone but an active admin. */
export class AdminInvites {
  constructor(private readonly control: ControlPlane) {}

  /** Creates an invite. Errors: invalid for a handle that is not allowed; quota at 1,000 pending invites. */
  async new(invite: InviteToCreate, signal?: AbortSignal): Promise<CreatedInvite> {
    return this.control.send(routes.invites.create, { body: invite }, { signal });
  }

  /** The pending invites, the oldest first. */
  async list(signal?: AbortSignal): Promise<PendingInvite[]> {
    return (await this.control.send(routes.invites.list, {}, { signal, size: "page" })).invites;
  }

  /** Cancels a pending invite. Errors: not_found if it is unknown or used. */
  async cancel(id: string, signal?: AbortSignal): Promise<void> {
    return this.control.send(routes.invites.cancel, { params: { id } }, { signal });
  }
}

/** What an admin does over the API. Errors: forbidden for anyone but an active admin. */
export class Admin {
  readonly users: AdminUsers;
  readonly invites: AdminInvites;

  /** `pagesMax`: the most pages of one list that are read. */
  constructor(
    private readonly control: ControlPlane,
    private readonly pagesMax = pagesMaxDefault,
  ) {
    this.users = new AdminUsers(control, pagesMax);
    this.invites = new AdminInvites(control);
  }

  /** Every live room by id, with members and stored bytes, never with content. */
  rooms({ signal }: AdminListOptions = {}): AsyncGenerator<AdminRoom> {
    return rowsOf(async (after) => {
      const { rooms, next } = await this.control.send(routes.admin.rooms, { query: { after } }, { signal });
      return { rows: rooms, next };
    }, this.pagesMax);
  }

  /** The connections to the node that answers, the oldest first. */
  connections({ signal }: AdminListOptions = {}): AsyncGenerator<AdminConnection> {
    return rowsOf(async (after) => {
      const found = await this.control.send(routes.admin.connections, { query: { after } }, { signal });
      return { rows: found.connections, next: found.next };
    }, this.pagesMax);
  }

  /** What each user takes of the quotas, by sign_pub. */
  usage({ signal }: AdminListOptions = {}): AsyncGenerator<AdminUsage> {
    return rowsOf(async (after) => {
      const { usage, next } = await this.control.send(routes.admin.usage, { query: { after } }, { signal });
      return { rows: usage, next };
    }, this.pagesMax);
  }
}
