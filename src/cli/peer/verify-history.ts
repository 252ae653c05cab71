import type { Room } from "../../client/index.ts";
import { checkHistory } from "../../client/rooms/history-check.ts";
import { partsOf } from "../../client/rooms/room-parts.ts";
import { UnibusError } from "../../wire/errors.ts";
import { printJson, printLine } from "../print.ts";
import { counted, findingText } from "./finding-text.ts";

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
