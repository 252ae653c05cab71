/**
 * The rules by which each statement of a room follows the one before it. A client checks them before it trusts a room,
 * and a bus checks them before it restores one. The caller verifies that an owner signed each statement.
 * Source: docs/protocol/rooms.md.
 */
import { ownersMax, type ParsedStatement, policyDigits, statementLines, zeroHash } from "./statement.ts";

/** A statement in a chain. The next statement contains its hash as `prev`. */
export interface ChainLink {
  /** Hex sha256 of the statement's text. */
  readonly hash: string;
  readonly parsed: ParsedStatement;
}

/**
 * The first broken rule of a chain: the statement line, counted from 0, and an explanation that follows "statement N".
 */
export interface ChainFault {
  readonly line: number;
  readonly what: string;
}

type LineName = (typeof statementLines)[number];

const fault = (name: LineName, what: string): ChainFault => ({ line: statementLines.indexOf(name), what });

/** Checks a room's first statement. Returns null if it is valid. */
export function firstFault({ version, prev, epoch, owners }: ParsedStatement): ChainFault | null {
  if (version !== 1) return fault("version", "is not version 1");
  if (prev !== zeroHash) return fault("prev", "names a previous statement, but it is the first");
  if (epoch !== 1) return fault("epoch", "does not start at epoch 1");
  return owners.length === 1 ? null : fault("owners", "starts with more than one owner");
}

/** Checks the step from one statement to the next. Returns null if it is valid. */
export function stepFault({ hash, parsed: old }: ChainLink, next: ParsedStatement): ChainFault | null {
  if (next.roomId !== old.roomId) return fault("room_id", "is for another room");
  if (next.version !== old.version + 1) return fault("version", `does not follow version ${old.version}`);
  if (next.prev !== hash) return fault("prev", "does not contain the hash of the previous statement");
  if (next.subject !== old.subject) return fault("subject", "changes the room's subject");
  if (policyDigits(next.policy) !== policyDigits(old.policy)) return fault("policy", "changes the room's policy");
  if (next.epoch !== old.epoch && next.epoch !== old.epoch + 1)
    return fault("epoch", "sets an epoch that is neither the current nor the next one");
  const isSameKey = next.keyCheck === old.keyCheck;
  if (next.epoch === old.epoch && !isSameKey) return fault("key_check", "changes the key within an epoch");
  if (next.epoch !== old.epoch && isSameKey && next.policy.encrypt) {
    return fault("key_check", "does not change the key for the new epoch");
  }
  return next.owners.length > ownersMax ? fault("owners", `has more than ${ownersMax} owners`) : null;
}
