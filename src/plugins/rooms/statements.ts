import { verifySignature } from "../../contracts/signature.ts";
import type { RoomChange, RoomRecord, RoomStore, StatementRecord, StayRecord } from "../../contracts/store.ts";
import type { Statement } from "../../wire/api.ts";
import { fromBase64, sha256Hex } from "../../wire/encoding.ts";
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

/** How often a change that lost to departures is judged again. */
const attemptsMax = 100;

/** The error for a change that lost to another change. */
export function lost(): UnibusError {
  return new UnibusError("conflict", "the room changed in the meantime (read it again and sign the next version)");
}

/** The store had another revision of the room than the change was judged against. */
class Overtaken extends UnibusError {
  constructor() {
    super("conflict", lost().message);
  }
}

/** The record of a room's next version, for `applyChange`. */
export function nextRoom(
  room: RoomRecord,
  { version, epoch, keyCheck }: Pick<RoomState, "version" | "epoch" | "keyCheck">,
  { text }: StatementRecord,
): RoomRecord {
  return { ...room, version, epoch, keyCheck, statementHash: sha256Hex(text), revision: room.revision + 1 };
}

/** Stores the next version of a room. Errors: conflict if the room is no longer as it was read; those of the store. */
export async function applyChange(store: RoomStore, change: RoomChange): Promise<void> {
  if (!(await store.applyChange(change))) throw new Overtaken();
}

/**
 * Judges a change against a room and its stays, and judges it again if a member left in the meantime: the room has
 * another revision then, but the statement may still be right. `judge` reads the stays after the room was read, so they
 * are of this revision if `applyChange` succeeds. A refusal is valid only while the room has this version.
 * Errors: those of `judge`; conflict if the room has another version.
 */
export async function whileUnchanged<T>(
  store: RoomStore,
  read: RoomRecord,
  judge: (room: RoomRecord, stays: readonly StayRecord[]) => Promise<T>,
): Promise<T> {
  let room = read;
  for (let tries = 0; tries < attemptsMax; tries++) {
    try {
      return await judge(room, await store.listStays(room.roomId));
    } catch (error) {
      const isRefusal = isUnibusError(error) && error.code !== "conflict" && error.code !== "unavailable";
      if (!isRefusal && !(error instanceof Overtaken)) throw error;
      const now = await store.getRoom(room.roomId);
      if (now?.version !== room.version) throw lost();
      if (isRefusal) throw error;
      if (now.deletedAt !== null) throw lost();
      room = now;
    }
  }
  throw new UnibusError("unavailable", "too many changes of this room at once (try again)");
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
