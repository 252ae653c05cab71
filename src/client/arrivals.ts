/** What is read out of data-plane messages before they are verified. */
import { isUnibusError, type UnibusError } from "../wire/errors.ts";
import { type DropReason, decodeFrame, isDropped } from "../wire/frame.ts";
import { deliverRoot } from "../wire/names.ts";
import type { LiveMessage } from "./line.ts";

/** What two copies of a message have in common: a frame's sender and id, a delivery's ack. */
export function copyKey({ subject, data, reply }: LiveMessage): string | null {
  if (subject.startsWith(deliverRoot)) return reply ?? null;
  const frame = decodeFrame(data);
  return isDropped(frame) ? null : `${frame.from}.${frame.id}.${frame.sig ?? ""}`;
}

/** Drops that happen among honest peers: a swap of connections, a rekey on its way. */
const harmless: ReadonlySet<DropReason> = new Set(["repeat", "old_epoch"]);

/** Whether a drop says nothing against its sender or the bus. */
export function isHarmless(what: DropReason): boolean {
  return harmless.has(what);
}

/** What a read of a room that is over for this peer says. */
const roomEnds: ReadonlySet<string> = new Set(["forbidden", "gone", "not_found", "room_forked"]);

/** Whether an error says that a room is over for this peer. */
export function endsRoom(error: unknown): error is UnibusError {
  return isUnibusError(error) && roomEnds.has(error.code);
}
