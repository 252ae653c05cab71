/**
 * Lets one member follow a bus that was restored from an older backup, where no owner gives back what the bus lost. The
 * bus's chain must be the same room's, by its first statement, and part from what this client has seen at a statement
 * that it verified itself. The person who decides sees first who becomes a reader again. Source: spec 3, "Way back".
 */
import { groupBy } from "../lib/group-by.ts";
import { UnibusError } from "../wire/errors.ts";
import { statementText } from "../wire/statement.ts";
import { Chain, type GivenStatement } from "./chain.ts";
import { KeptRoom, linkOf } from "./kept-room.ts";
import { type RoomPin, roomForked } from "./state.ts";
import type { TrustParts } from "./trust.ts";
import { isOneLine, type VerifiedMember } from "./verified-room.ts";

/** A member whom a statement that this client has seen had removed, or had made less than an owner. */
export interface Readmitted {
  readonly endpoint: string;
  readonly handle: string;
  /** `reader`: removed, and a reader again. `owner`: not an owner any more, and one again. */
  readonly as: "reader" | "owner";
}

/** The older chain of a bus, and what following it means. */
export interface OlderChain {
  readonly roomId: string;
  readonly subject: string;
  /** The newest version that this client has seen. */
  readonly version: number;
  /** The newest version that the bus shows. */
  readonly busVersion: number;
  /** The last version that both have. */
  readonly common: number;
  readonly readmitted: readonly Readmitted[];
  /** Follows it from now on. What was seen before is forgotten, but for its pin, which stays as evidence. */
  accept(): Promise<void>;
}

/** The bus's whole chain, verified from its first statement, and its members. Errors: room_forked; those of reading. */
async function readWhole(roomId: string, { control, vouched }: TrustParts, signal?: AbortSignal) {
  const chain = new Chain(roomId);
  const statements: GivenStatement[] = [];
  const list = await control.members(roomId, signal);
  for (let more = true; more; ) {
    const page = await control.statements(roomId, statements.length + 1, signal);
    if (page.statements.length === 0) throw roomForked(roomId, `the bus shows no statement ${statements.length + 1}`);
    await chain.take(page.statements);
    statements.push(...page.statements);
    more = page.more;
  }
  const { head } = chain;
  if (head === null || head.parsed.version !== list.version) {
    throw new UnibusError("unavailable", `room ${roomId} cannot be read: it changes too fast (try again)`);
  }
  const lines: VerifiedMember[] = list.members;
  if (!lines.every(isOneLine) || statementText({ ...head.parsed, lines }) !== head.text) {
    throw roomForked(roomId, "its members are not those that its owners signed");
  }
  for (const line of lines) {
    const fault = await vouched.faultOf(line);
    if (fault !== null) throw roomForked(roomId, `its member ${line.endpoint} ${fault}`);
  }
  return { statements, lines, head };
}

const isIn = ({ until, left }: VerifiedMember): boolean => until === 0 && !left;

/** Who reads again, or owns again, on the bus, by what this client has kept. */
function readmitted(kept: readonly VerifiedMember[], now: readonly VerifiedMember[]): Readmitted[] {
  const spans = groupBy(kept, ({ endpoint }) => endpoint);
  return now.filter(isIn).flatMap(({ endpoint, handle, role }): Readmitted[] => {
    const before = spans.get(endpoint) ?? [];
    // Whom no kept statement names had not joined, or came by a statement that this client never saw.
    if (before.length > 0 && !before.some(isIn)) return [{ endpoint, handle, as: "reader" }];
    const wasOwner = before.some((line) => isIn(line) && line.role === "owner");
    return before.length > 0 && role === "owner" && !wasOwner ? [{ endpoint, handle, as: "owner" }] : [];
  });
}

/**
 * Reads the chain of a bus that is older than what this client has seen, or parts from it.
 * Errors: room_forked for another room, or a chain that does not hold; not_found where too little was kept to compare;
 * conflict where the bus shows what this client has seen.
 */
export async function readOlderChain(roomId: string, parts: TrustParts, signal?: AbortSignal): Promise<OlderChain> {
  const { state } = parts;
  const room = new KeptRoom(roomId, state);
  const [pin, kept, known] = await Promise.all([state.room(roomId), room.version(), room.statements()]);
  const first = known.get(1);
  if (pin === null || kept === null || first === undefined) {
    const fix = "compare the 8 words of the room with an owner, and open it with a fresh client state";
    throw new UnibusError("not_found", `this client has not kept enough of room ${roomId} to compare (${fix})`);
  }
  const { statements, lines, head } = await readWhole(roomId, parts, signal);
  const [mine, theirs] = [first, statements[0]].map((one) => `${one?.text}\n${one?.by}\n${one?.sig}`);
  if (mine !== theirs) throw roomForked(roomId, "the bus shows another room: its first statement is not the one seen");
  const parting = statements.findIndex(({ version, text }) => known.get(version)?.text !== text);
  const common = parting === -1 ? statements.length : parting;
  if (head.parsed.version >= pin.version && common >= pin.version) {
    throw new UnibusError(
      "conflict",
      `the bus shows all that you have seen of ${kept.subject} (there is nothing to accept)`,
    );
  }
  const { version, epoch, owners } = head.parsed;
  const older: RoomPin = { version, hash: head.hash, epoch, owners, firstOwners: pin.firstOwners };
  return {
    ...{ roomId, subject: head.parsed.subject, version: pin.version, busVersion: version, common },
    readmitted: readmitted(kept.members, lines),
    async accept() {
      const shared = statements[common - 1];
      await room.cut(common, shared === undefined ? 0 : linkOf(roomId, shared).parsed.epoch);
      // Later epochs that owners signed belong to what is given up.
      await state.saveNote(roomId, "claims", { claims: [] });
      await state.returnRoom(roomId, older);
      await room.addStatements(statements.slice(common));
      await room.setMembers({ version, subject: head.parsed.subject, members: lines });
    },
  };
}
