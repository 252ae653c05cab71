/**
 * The rules by which each statement of a room follows the one before it. A client checks them before it trusts a room,
 * and a bus checks them before it restores one. The caller verifies that an owner signed each statement. Source: spec
 * 3.
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
  if (version !== 1) return fault("version", "is not the first one");
  if (prev !== zeroHash) return fault("prev", "names a statement before the first one");
  if (epoch !== 1) return fault("epoch", "does not begin with epoch 1");
  return owners.length === 1 ? null : fault("owners", "has more than one owner at the beginning");
}

/** Checks the step from one statement to the next. Returns null if it is valid. */
export function stepFault({ hash, parsed: old }: ChainLink, next: ParsedStatement): ChainFault | null {
  if (next.roomId !== old.roomId) return fault("room_id", "is about another room");
  if (next.version !== old.version + 1) return fault("version", `is out of turn after ${old.version}`);
  if (next.prev !== hash) return fault("prev", "does not follow the one before");
  if (next.subject !== old.subject) return fault("subject", "changes the room's subject");
  if (policyDigits(next.policy) !== policyDigits(old.policy)) return fault("policy", "changes the room's policy");
  if (next.epoch !== old.epoch && next.epoch !== old.epoch + 1) return fault("epoch", "leaps over an epoch");
  const isSameKey = next.keyCheck === old.keyCheck;
  if (next.epoch === old.epoch && !isSameKey) return fault("key_check", "changes the key within an epoch");
  if (next.epoch !== old.epoch && isSameKey && next.policy.encrypt) {
    return fault("key_check", "keeps the key in a new epoch");
  }
  return next.owners.length > ownersMax ? fault("owners", `has more than ${ownersMax} owners`) : null;
}
