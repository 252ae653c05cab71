import { verifySignature } from "../../contracts/signature.ts";
import type { RoomRecord, RoomStore, StatementRecord, StayRecord } from "../../contracts/store.ts";
import type { Statement } from "../../wire/api.ts";
import { fromBase64 } from "../../wire/encoding.ts";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";
import { normalKey } from "../../wire/names.ts";
import {
  firstDifference,
  lineName,
  ownersOf,
  type ParsedStatement,
  parseStatement,
  type RoomState,
  statementText,
} from "../../wire/statement.ts";

const invalid = (message: string): UnibusError => new UnibusError("invalid", message);

/** The state that a room's last statement describes. `prev` is the hash that the next statement must contain. */
export function stateOf(room: RoomRecord, stays: readonly StayRecord[], prev: string): RoomState {
  const { roomId, version, subject, policy, epoch, keyCheck } = room;
  return { roomId, version, prev, subject, policy, epoch, keyCheck, lines: stays };
}

/** The error for a change that lost to another change. */
export function lost(): UnibusError {
  return new UnibusError("conflict", "the room changed in the meantime (read it again and sign the next version)");
}

/**
 * Judges a change against a room as it was read. The stays are read later and may be of a newer version, so a refusal
 * is valid only while the room is unchanged. Errors: those of `judge`; conflict if the room has changed.
 */
export async function whileUnchanged<T>(store: RoomStore, room: RoomRecord, judge: () => Promise<T>): Promise<T> {
  try {
    return await judge();
  } catch (error) {
    const isRefusal = isUnibusError(error) && error.code !== "conflict" && error.code !== "unavailable";
    if (isRefusal && (await store.getRoom(room.roomId))?.version !== room.version) throw lost();
    throw error;
  }
}

/** Parses a statement's text. Errors: invalid, naming the line. */
export function readStatement(statement: Statement): ParsedStatement {
  const parsed = parseStatement(statement.text);
  if ("fault" in parsed) throw invalid(`${parsed.fault} (build it from the room's state)`);
  return parsed;
}

/** Checks that a statement is the next version, by an owner. Errors: conflict; forbidden. */
export function checkTurn(
  statement: Statement,
  parsed: ParsedStatement,
  room: RoomRecord,
  stays: readonly StayRecord[],
): void {
  if (parsed.version !== room.version + 1) {
    const versions = `the statement has version ${parsed.version} but the room is at ${room.version}`;
    throw new UnibusError("conflict", `${versions} (read the room again and sign its next version)`);
  }
  if (!ownersOf(stays).includes(normalKey(statement.by))) {
    throw new UnibusError("forbidden", "the statement is not signed by an owner of the room (ask an owner to sign it)");
  }
}

/**
 * Compares a statement with the only correct text, then verifies its signature.
 * Errors: invalid, naming the first line that differs.
 */
export async function checkText(statement: Statement, expected: RoomState): Promise<StatementRecord> {
  const text = statementText(expected);
  const line = firstDifference(statement.text, text);
  if (line !== null) {
    const wanted = text.split("\n")[line] ?? "nothing";
    throw invalid(`${lineName(line)} of the statement differs: it must be ${wanted} (build it from the room's state)`);
  }
  const by = normalKey(statement.by);
  const sig = fromBase64(statement.sig);
  if (sig === null || !(await verifySignature(by, text, sig))) {
    throw invalid("invalid statement signature (sign the text exactly as sent)");
  }
  return { version: expected.version, text, by, sig: statement.sig };
}
