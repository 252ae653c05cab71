/**
 * The answers that a command may get while another one runs: success, as if it had come first, or the refusal that it
 * would get after the other one. Every other answer is a failure, in particular 500 and 503.
 */
import type { CommandName } from "./commands.ts";

/** What each command answers if no other command interferes. */
export const success: Readonly<Record<CommandName, number>> = {
  create: 201,
  add: 201,
  kick: 204,
  leave: 204,
  rekey: 200,
  role: 200,
  delete: 204,
  accept: 204,
  "revoke user": 204,
  "delete user": 204,
  "restore user": 204,
  "put durable": 200,
  "remove durable": 204,
  history: 200,
  publish: 200,
  erase: 200,
  redeem: 201,
  cancel: 204,
};

/** Commands that send a statement: of two with the same version, one loses. */
export const statements: ReadonlySet<CommandName> = new Set(["add", "kick", "rekey", "role"]);
const ofRoom: ReadonlySet<CommandName> = new Set([
  ...(["add", "kick", "leave", "rekey", "role", "delete", "accept"] as const),
  ...(["put durable", "remove durable", "history", "publish", "erase"] as const),
]);
/** Commands that the member sends. */
const ofMember: ReadonlySet<CommandName> = new Set([
  ...(["leave", "accept", "put durable", "remove durable", "history", "publish", "erase"] as const),
]);

/** Yields the refusals of `command` that `other` can cause. */
function* refusals(command: CommandName, other: CommandName): Generator<number> {
  // A user who is restored was revoked before the race (`startsRevoked`), and may still be.
  const removesUser = other === "revoke user" || other === "delete user" || other === "restore user";
  const takesMemberOut = other === "kick" || other === "leave" || removesUser;
  if (statements.has(command) && statements.has(other)) yield 409;
  // The kicked user is no longer a member, and the room has moved to another version.
  if (command === "kick" && other === "kick") yield 404;
  if (other === "delete" && ofRoom.has(command)) yield* [410, 403];
  // The room was deleted after the command read it: the other change came first.
  if (other === "delete" && statements.has(command)) yield 409;
  if (command === "create" && (other === "create" || other === "delete")) yield 409;
  if (takesMemberOut && ofMember.has(command)) yield 403;
  if ((other === "leave" || removesUser) && (command === "kick" || command === "rekey")) yield 409;
  if (takesMemberOut && command === "role") yield* [404, 409];
  if (removesUser && (ofMember.has(command) || command === "create")) yield 401;
  if (removesUser && command === "add") yield 404;
  if (other === "delete user" && command.endsWith(" user")) yield 404;
  // The user does not exist yet.
  if (other === "redeem" && command.endsWith(" user")) yield 404;
  if (other === "accept" && command === "put durable") yield 409;
  if (other === "accept" && command === "publish") yield 403;
  if (other === "erase" && command === "erase") yield 404;
  if (other === "cancel" && (command === "redeem" || command === "cancel")) yield 404;
  if (other === "redeem" && command === "cancel") yield 404;
}

/** Reports whether an answer is allowed. */
export function isAllowed(command: CommandName, other: CommandName, status: number): boolean {
  return status === success[command] || [...refusals(command, other)].includes(status);
}
