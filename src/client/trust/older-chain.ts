/**
 * Lets one member follow a server that was restored from an older backup, if no owner restores what the server lost.
 * The server's chain must have the same first statement, and may diverge from what this client has seen only after a
 * statement that the client verified itself. Before deciding, the person sees who would regain access.
 * Source: docs/backup.md.
 */
import { groupBy } from "../../lib/group-by.ts";
import { UnibusError } from "../../wire/errors.ts";
import { statementText } from "../../wire/statement.ts";
import { Chain, type GivenStatement } from "./chain.ts";
import { KeptRoom, linkOf } from "./kept-room.ts";
import { newStatementsMax, type RoomTrustDeps } from "./room-trust.ts";
import { type RoomPin, roomForked } from "./state.ts";
import { isOneLine, type VerifiedMember } from "./verified-room.ts";

/** A member whom the newer chain removed or demoted, or does not have, and whom the server's chain has. */
export interface Readmitted {
  readonly endpoint: string;
  readonly handle: string;
  /**
   * `reader`: was removed, and is a reader again. `owner`: was demoted, and is an owner again. `new`: is in no version
   * that this client has seen, because the server's chain went on without the newer one.
   */
  readonly as: "reader" | "owner" | "new";
}

/** The older chain of a server, and the consequences of following it. */
export interface OlderChain {
  readonly roomId: string;
  readonly subject: string;
  /** The newest version that this client has seen. */
  readonly version: number;
  /** The newest version that the server shows. */
  readonly busVersion: number;
  /** The last version that both have in common. */
  readonly common: number;
  readonly readmitted: readonly Readmitted[];
  /**
   * Follows the older chain from now on. Deletes what was seen before, except for its pin, which is kept as evidence.
   */
  accept(): Promise<void>;
}

/**
 * Reads the server's whole chain and member list, verified from the first statement. Errors: room_forked; those of
 * reads.
 */
async function readWhole(roomId: string, { control, vouched }: RoomTrustDeps, signal?: AbortSignal) {
  const chain = new Chain(roomId);
  const statements: GivenStatement[] = [];
  const list = await control.members(roomId, signal);
  for (let more = true; more; ) {
    const page = await control.statements(roomId, statements.length + 1, signal);
    await chain.take(page.statements);
    statements.push(...page.statements);
    // Otherwise a page that repeats what came before would be read for ever.
    if (page.statements.length === 0 || chain.head?.parsed.version !== statements.length)
      throw roomForked(roomId, `the server does not return statement ${statements.length + 1}`);
    if (statements.length > newStatementsMax)
      throw new UnibusError("unavailable", `room ${roomId} has more than ${newStatementsMax} statements (try again)`);
    more = page.more;
  }
  const { head } = chain;
  if (head === null || head.parsed.version !== list.version) {
    throw new UnibusError("unavailable", `cannot read room ${roomId}: it changed during the read (try again)`);
  }
  const lines: VerifiedMember[] = list.members;
  if (!lines.every(isOneLine) || statementText({ ...head.parsed, lines }) !== head.text) {
    throw roomForked(roomId, "the member list differs from the one that the owners signed");
  }
  for (const line of lines) {
    const fault = await vouched.faultOf(line);
    if (fault !== null) throw roomForked(roomId, `member ${line.endpoint} ${fault}`);
  }
  return { statements, lines, head };
}

const isIn = ({ until, left }: VerifiedMember): boolean => until === 0 && !left;

/** The members who gain or regain access or ownership on the server, compared with what this client has stored. */
function readmitted(kept: readonly VerifiedMember[], now: readonly VerifiedMember[]): Readmitted[] {
  const spans = groupBy(kept, ({ endpoint }) => endpoint);
  return now.filter(isIn).flatMap(({ endpoint, handle, role }): Readmitted[] => {
    const before = spans.get(endpoint);
    // Lines are never removed, so a chain that is only older has no member without a stored line.
    if (before === undefined) return [{ endpoint, handle, as: "new" }];
    if (!before.some(isIn)) return [{ endpoint, handle, as: "reader" }];
    const wasOwner = before.some((line) => isIn(line) && line.role === "owner");
    return role === "owner" && !wasOwner ? [{ endpoint, handle, as: "owner" }] : [];
  });
}

/**
 * Reads the chain of a server that is older than what this client has seen, or diverges from it.
 * Errors: room_forked for another room or an invalid chain; not_found if too little is stored to compare; conflict if
 * the server shows everything that this client has seen.
 */
export async function readOlderChain(roomId: string, parts: RoomTrustDeps, signal?: AbortSignal): Promise<OlderChain> {
  const { state } = parts;
  const room = new KeptRoom(roomId, state);
  const [pin, kept, known] = await Promise.all([state.room(roomId), room.version(), room.statements()]);
  const first = known.get(1);
  if (pin === null || kept === null || first === undefined) {
    const fix = "compare the room's 8 words with an owner, then open it with an empty client state";
    throw new UnibusError("not_found", `this client has not stored enough of room ${roomId} to compare (${fix})`);
  }
  const { statements, lines, head } = await readWhole(roomId, parts, signal);
  const [mine, theirs] = [first, statements[0]].map((one) => `${one?.text}\n${one?.by}\n${one?.sig}`);
  if (mine !== theirs) throw roomForked(roomId, "the server returned another room: the first statement has changed");
  const parting = statements.findIndex(({ version, text }) => known.get(version)?.text !== text);
  const common = parting === -1 ? statements.length : parting;
  if (head.parsed.version >= pin.version && common >= pin.version) {
    throw new UnibusError(
      "conflict",
      `the server is not behind what you have seen of ${kept.subject} (nothing to accept)`,
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
      // Claims of later epochs belong to the abandoned chain.
      await state.saveNote(roomId, "claims", { claims: [] });
      await state.returnRoom(roomId, older);
      await room.addStatements(statements.slice(common));
      await room.setMembers({ version, subject: head.parsed.subject, members: lines });
    },
  };
}
