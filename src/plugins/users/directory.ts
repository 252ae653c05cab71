import type { Static } from "@sinclair/typebox";
import type { UserRecord, UserStore } from "../../contracts/store.ts";
import { type DirectoryQuery, usersPageMax } from "../../wire/api.ts";
import { UnibusError } from "../../wire/errors.ts";
import { type Looks, looksOf } from "../../wire/looks.ts";
import { handleLengthMax, normalKey } from "../../wire/names.ts";

/** A page of active users. */
export interface DirectoryPage {
  readonly users: readonly UserRecord[];
  /** Whether more users follow. */
  readonly more: boolean;
}

/** Computes the looks of a handle filter. Errors: invalid for a text longer than any handle. */
function looksAsked(handle: string | undefined): Looks | undefined {
  if (handle === undefined) return undefined;
  const { length } = [...handle];
  if (length <= handleLengthMax) return looksOf(handle);
  throw new UnibusError("invalid", `query, handle: ${length} characters (use at most ${handleLengthMax})`);
}

/**
 * Returns the active users that match a query, sorted by endpoint. A user must match every filter. Errors: invalid for
 * a handle that is too long. Source: docs/reference/http.md.
 */
export async function directoryPage(store: UserStore, query: Static<typeof DirectoryQuery>): Promise<DirectoryPage> {
  const { handle, endpoint, sign_pub, after = null, limit = usersPageMax } = query;
  const looks = looksAsked(handle);
  if (endpoint === undefined && sign_pub === undefined) {
    const found = await store.listActive({ looks, after, limit: limit + 1 });
    return { users: found.slice(0, limit), more: found.length > limit };
  }
  const user = await (endpoint === undefined
    ? store.getUser(normalKey(sign_pub ?? ""))
    : store.getUserByEndpoint(endpoint));
  if (user === null || user.status !== "active" || (after !== null && user.endpoint <= after)) return none;
  if (sign_pub !== undefined && user.signPub !== normalKey(sign_pub)) return none;
  if (looks !== undefined) {
    const { look1, look2 } = looksOf(user.handle);
    if (look1 !== looks.look1 && look2 !== looks.look2) return none;
  }
  return { users: [user], more: false };
}

const none: DirectoryPage = { users: [], more: false };
