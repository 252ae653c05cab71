/**
 * The chain of statements in a restoration: parsed, compared with the bus's own chain, and verified.
 * Each statement contains the hash of the previous one and is signed by an owner of the previous version. The last
 * statement that both chains share is the base. A chain that continues the bus's head extends it; a chain that differs
 * after the base forks it (contested). restoring.ts uses this.
 */

import { verifySignature } from "../../../contracts/signature.ts";
import type { RoomRecord, RoomStore, StatementRecord } from "../../../contracts/store.ts";
import type { TimeSlices } from "../../../lib/time-slices.ts";
import type { Restore } from "../../../wire/api.ts";
import { type ChainLink, firstFault, stepFault } from "../../../wire/chain.ts";
import { fromBase64, sha256Hex } from "../../../wire/encoding.ts";
import { UnibusError } from "../../../wire/errors.ts";
import { normalKey } from "../../../wire/names.ts";
import { firstDifference, lineName, type ParsedStatement, parseStatement } from "../../../wire/statement.ts";

/** Page size for reading statements from the store. */
const pageSize = 1_000;

/** A statement of a chain. */
export interface ChainStatement extends ChainLink {
  readonly record: StatementRecord;
}

const invalid = (message: string) => new UnibusError("invalid", message);

/** The error for an invalid line of a statement. */
export function wrongLine(version: number, line: number, what: string): UnibusError {
  return invalid(`statement ${version}, ${lineName(line)}: ${what} (send the statements as their owners signed them)`);
}

function linkOf(
  { text, by, sig }: Pick<StatementRecord, "text" | "by" | "sig">,
  parsed: ParsedStatement,
): ChainStatement {
  const record = { version: parsed.version, text, by: normalKey(by), sig };
  return { record, hash: sha256Hex(text), parsed };
}

/** Parses the last offered statement. Its owners are the ones who may restore. Errors: invalid. */
export function lastOf(roomId: string, statements: Restore["statements"]): ParsedStatement {
  const parsed = parseStatement(statements.at(-1)?.text ?? "");
  if ("fault" in parsed) throw invalid(`the last statement: ${parsed.fault} (send the statements as they were signed)`);
  if (parsed.roomId !== roomId) throw wrongLine(parsed.version, 1, `it names room ${parsed.roomId}, not ${roomId}`);
  return parsed;
}

/** Parses the offered statements: all of this room, in order, without a gap. Errors: invalid. */
export async function readChain(
  roomId: string,
  statements: Restore["statements"],
  slices: TimeSlices,
): Promise<ChainStatement[]> {
  const chain: ChainStatement[] = [];
  for (const [index, given] of statements.entries()) {
    const parsed = parseStatement(given.text);
    if ("fault" in parsed) throw invalid(`statement ${index} of the list: ${parsed.fault} (send it as it was signed)`);
    const { version } = parsed;
    if (parsed.roomId !== roomId) throw wrongLine(version, 1, `it names room ${parsed.roomId}, not ${roomId}`);
    const wanted = (chain[0]?.parsed.version ?? version) + index;
    if (version !== wanted) throw wrongLine(version, 2, `expected version ${wanted}`);
    if (given.version !== undefined && given.version !== version)
      throw wrongLine(version, 2, `it differs from the version field ${given.version}`);
    chain.push(linkOf(given, parsed));
    if (slices.isOver) await slices.rest();
  }
  return chain;
}

/** Reads the bus's own chain of a room from version `from`. */
async function ownFrom(
  store: RoomStore,
  room: RoomRecord,
  from: number,
  slices: TimeSlices,
): Promise<ChainStatement[]> {
  const own: ChainStatement[] = [];
  for (let at = Math.max(1, from); at <= room.version; ) {
    const page = await store.listStatements(room.roomId, at, pageSize);
    if (page.length === 0) throw new UnibusError("conflict", "the room is being changed (try again)");
    for (const record of page) {
      const parsed = parseStatement(record.text);
      if ("fault" in parsed) throw new UnibusError("internal", "a stored statement is corrupt", { cause: record });
      own.push(linkOf(record, parsed));
      if (slices.isOver) await slices.rest();
    }
    at += page.length;
  }
  return own;
}

/** How an offered chain relates to the bus's own chain. */
export interface Comparison {
  /** The last statement in both chains, or null if they share none. */
  readonly base: ChainStatement | null;
  /** The offered statements after the base. */
  readonly added: readonly ChainStatement[];
  /** The bus's own head, or null if the bus does not know the room. */
  readonly head: ChainStatement | null;
  /** The first differing line at the version after the base, counted from 0. Null if the chains do not fork. */
  readonly differs: number | null;
}

/**
 * Compares an offered chain with the bus's own chain.
 * Errors: invalid if the first offered statement follows no statement that the bus has.
 */
export async function compareChains(
  store: RoomStore,
  room: RoomRecord | null,
  chain: readonly ChainStatement[],
  slices: TimeSlices,
): Promise<Comparison> {
  const first = chain[0] as ChainStatement;
  const from = first.parsed.version;
  if (room === null) {
    if (from !== 1) throw wrongLine(from, 2, "the bus does not know this room, so its chain must start at version 1");
    return { base: null, added: chain, head: null, differs: null };
  }
  if (from > room.version + 1) throw wrongLine(from, 2, "the statements before it are missing");
  const own = await ownFrom(store, room, from - 1, slices);
  let base = from === 1 ? null : (own.shift() ?? null);
  if (from !== 1 && base?.hash !== first.parsed.prev) {
    throw wrongLine(from, 3, "it does not follow the bus's own statement");
  }
  const common = own.findIndex(({ hash }, index) => hash !== chain[index]?.hash);
  const count = common === -1 ? own.length : common;
  base = own[count - 1] ?? base;
  const [mine, theirs] = [own[count], chain[count]];
  const differs = mine && theirs ? firstDifference(theirs.record.text, mine.record.text) : null;
  return { base, added: chain.slice(count), head: own.at(-1) ?? base, differs };
}

/**
 * Verifies that statements follow each other from a base, each signed by an owner of the version before it.
 * Errors: invalid, naming the first wrong statement and line.
 */
export async function verifyChain(
  base: ChainLink | null,
  added: readonly ChainStatement[],
  slices: TimeSlices,
): Promise<void> {
  let before = base;
  for (const next of added) {
    const { parsed, record } = next;
    const fault = before === null ? firstFault(parsed) : stepFault(before, parsed);
    if (fault !== null) throw wrongLine(parsed.version, fault.line, `it ${fault.what}`);
    const signers = before?.parsed.owners ?? parsed.owners;
    const sig = fromBase64(record.sig);
    if (!signers.includes(record.by) || sig === null || !(await verifySignature(record.by, record.text, sig))) {
      throw invalid(
        `statement ${parsed.version} is not signed by an owner of the version before it (send what was signed)`,
      );
    }
    before = next;
    if (slices.isOver) await slices.rest();
  }
}
