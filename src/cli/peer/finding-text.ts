/** How commands describe what is missing in a room's history. */
import type { IntegrityFinding, Room } from "../../client/index.ts";

/** A count with its noun, which gets an s. */
export const counted = (count: number, one: string): string => `${count} ${one}${count === 1 ? "" : "s"}`;

/** Where a finding is: between which messages of its chain. */
function placeOf({ after, before }: IntegrityFinding): string {
  if (after !== null && before !== null) return `between ${after} and ${before}`;
  if (after !== null) return `after ${after}`;
  return before === null ? "at an unknown place" : `before ${before}`;
}

/** One finding, as a line. */
export function findingText(room: Room, finding: IntegrityFinding): string {
  const nameOf = (endpoint: string | null) => {
    if (endpoint === null) return "an unknown sender";
    const handle = room.members.find((member) => member.endpoint === endpoint)?.handle;
    return handle === undefined ? endpoint : `${handle} (${endpoint})`;
  };
  const { what, from, first, last, after, saidBy } = finding;
  const said = saidBy === null ? "" : `, says ${nameOf(saidBy)}`;
  const count = last - first + 1;
  const missing = `${counted(count, "message")} of ${nameOf(from)} ${count === 1 ? "is" : "are"} missing`;
  if (what === "gap") return `gap: ${missing} ${placeOf(finding)}${said}`;
  if (what === "statement") {
    return `fork: message ${after} names version ${first} of the room as another one than the server shows${said}`;
  }
  const place = `message ${after} of ${nameOf(from)}`;
  if (what === "fork") return `fork: ${place} is not the one that was sent there before${said}`;
  return `order: ${place} is stored after one that was sent later${said}`;
}
