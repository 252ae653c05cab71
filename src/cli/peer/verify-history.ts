import type { Room } from "../../client/index.ts";
import { checkHistory } from "../../client/rooms/history-check.ts";
import type { IntegrityFinding } from "../../client/rooms/integrity.ts";
import { partsOf } from "../../client/rooms/room-parts.ts";
import { UnibusError } from "../../wire/errors.ts";
import { printJson, printLine } from "../print.ts";

const counted = (count: number, one: string): string => `${count} ${one}${count === 1 ? "" : "s"}`;

/** Where a finding is: between which messages of its chain. */
function placeOf({ after, before }: IntegrityFinding): string {
  if (after !== null && before !== null) return `between ${after} and ${before}`;
  if (after !== null) return `after ${after}`;
  return before === null ? "at an unknown place" : `before ${before}`;
}

function findingText(room: Room, finding: IntegrityFinding): string {
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
  const place = `message ${after} of ${nameOf(from)}`;
  if (what === "fork") return `fork: ${place} is not the one that was sent there before${said}`;
  return `order: ${place} is stored after one that was sent much later${said}`;
}

/**
 * Checks a room's whole history, and prints what is missing.
 * Errors: conflict if anything is missing or was changed, so that the exit code is 1.
 */
export async function verifyHistory(
  room: Room,
  { json }: { readonly json?: boolean | undefined },
  signal: AbortSignal,
): Promise<void> {
  const checked = await checkHistory(partsOf(room), signal);
  const { state, since, findings, messages, linked } = checked;
  if (json) await printJson(checked);
  else {
    for (const finding of findings) await printLine(findingText(room, finding));
    const start = since === null ? "" : ` since ${since}`;
    await printLine(`${room.subject}: ${state}${start}, ${counted(messages, "message")}, ${linked} of them in chains`);
  }
  if (findings.length === 0) return;
  const hint = "compare with another member, and ask an admin";
  throw new UnibusError("conflict", `the history of ${room.subject} has ${counted(findings.length, "gap")} (${hint})`);
}
