import { InvalidArgumentError } from "commander";
import { inviteTtlS } from "../wire/api.ts";
import { isUnibusError, UnibusError } from "../wire/errors.ts";
import { checkHandle } from "../wire/handles.ts";
import { lookAlike } from "../wire/looks.ts";
import { endpointPattern, keyPattern } from "../wire/names.ts";

const isKey = (text: string): boolean => new RegExp(keyPattern).test(text);
const isEndpoint = (text: string): boolean => new RegExp(endpointPattern).test(text);

/** How the help describes the argument that names a user. */
export const whoText = "handle, sign_pub or endpoint; an endpoint that begins with - goes after --";

/** Parses a sign_pub on the command line. */
export function keyArgument(text: string): string {
  if (!isKey(text)) throw new InvalidArgumentError("A sign_pub has 64 hex digits.");
  return text;
}

/** Parses a handle on the command line and normalizes it. */
export function handleArgument(text: string): string {
  try {
    return checkHandle(text);
  } catch (error) {
    throw isUnibusError(error) ? new InvalidArgumentError(error.message) : error;
  }
}

/** Parses the lifetime of an invite, in seconds. */
export function ttlArgument(text: string): number {
  const seconds = Number(text);
  if (Number.isInteger(seconds) && seconds >= 1 && seconds <= inviteTtlS.max) return seconds;
  throw new InvalidArgumentError(`Seconds, 1 to ${inviteTtlS.max}.`);
}

/** A user to choose from. */
export interface UserRow {
  readonly handle: string;
  readonly status: string;
  readonly sign_pub: string;
  readonly endpoint: string;
}

/**
 * Finds the key of the user named by a handle, a sign_pub or an endpoint. A text in the form of a key or an endpoint is
 * never taken as a handle. `list`: the command that lists all users, for the error.
 * Errors: not_found; conflict for a handle that matches several users.
 */
export async function keyNamed(rows: AsyncIterable<UserRow>, who: string, list: string): Promise<string> {
  if (isKey(who)) return who.toLowerCase();
  const isNamed = isEndpoint(who)
    ? (row: UserRow) => row.endpoint === who
    : (row: UserRow) => lookAlike(row.handle, who.normalize("NFC"));
  const found: UserRow[] = [];
  for await (const row of rows) if (isNamed(row)) found.push(row);
  const [only, ...others] = found;
  const shown = JSON.stringify(who);
  if (only === undefined) throw new UnibusError("not_found", `${shown} is not a user of this bus (see ${list})`);
  if (others.length === 0) return only.sign_pub;
  const all = found.map(({ handle, status, sign_pub }) => `${JSON.stringify(handle)}, ${status}: ${sign_pub}`);
  throw new UnibusError("conflict", `${shown} may mean ${found.length} users (name one by its key: ${all.join("; ")})`);
}
