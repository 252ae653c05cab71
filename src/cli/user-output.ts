/** How users and invites are printed: the same on the host and by an admin over the API. */
import { type PrintOptions, printJson, printLine, printNote, printTable } from "./print.ts";

/** A user, as lists print one. */
export type UserLine = Readonly<Record<"handle" | "role" | "status" | "sign_pub" | "endpoint", string>>;

/** Prints users. `invite`: the command that adds one, for the note if there are none. */
export async function printUsers(
  users: AsyncIterable<UserLine>,
  invite: string,
  { json }: PrintOptions,
): Promise<void> {
  const lines = async function* () {
    for await (const { handle, role, status, sign_pub, endpoint } of users)
      yield { handle, role, status, sign_pub, endpoint };
  };
  if (json) return printJson({ users: await Array.fromAsync(lines()) });
  const cells = async function* () {
    for await (const { handle, role, status, sign_pub } of lines()) yield [handle, role, status, sign_pub];
  };
  const count = await printTable(["HANDLE", "ROLE", "STATUS", "SIGN_PUB"], cells());
  if (count === 0) printNote(`no users yet (invite one: ${invite})`);
}

/** An invite that was just created. */
export type InviteLine = Readonly<Record<"id" | "handle" | "role" | "expires_at" | "link", string>>;

/** Prints a new invite: the link alone on stdout. `cancel`: the command that cancels it. */
export async function printNewInvite(invite: InviteLine, cancel: string, { json }: PrintOptions): Promise<void> {
  const { id, handle, role, expires_at, link } = invite;
  if (json) return printJson({ id, handle, role, expires_at, link });
  await printLine(link);
  printNote(`works once, until ${expires_at} (to cancel it: ${cancel} ${id})`);
}

/** A pending invite. */
export type PendingLine = Readonly<Record<"id" | "handle" | "role" | "created_at" | "expires_at", string>>;

/** Prints pending invites. `create`: the command that creates one, for the note if there are none. */
export async function printInvites(
  invites: readonly PendingLine[],
  create: string,
  { json }: PrintOptions,
): Promise<void> {
  if (json) return printJson({ invites });
  if (invites.length === 0) printNote(`no pending invites (create one: ${create})`);
  const cells = invites.map((row) => [row.id, row.handle, row.role, row.expires_at]);
  await printTable(["ID", "HANDLE", "ROLE", "EXPIRES"], cells);
}
