/** Classifies data-plane messages: keys to find copies before verification, and which drops and errors matter. */
import { isUnibusError, type UnibusError } from "../../wire/errors.ts";
import { type DropReason, decodeFrame, isDropped } from "../../wire/frame.ts";
import { deliverRoot } from "../../wire/names.ts";
import type { LiveMessage } from "./connection.ts";

/**
 * A key that is equal for two copies of one message: the sender, id and signature of a frame, or the ack subject of a
 * delivery. Null if the message is not a valid frame.
 */
export function copyKey({ subject, data, reply }: LiveMessage): string | null {
  if (subject.startsWith(deliverRoot)) return reply ?? null;
  const frame = decodeFrame(data);
  return isDropped(frame) ? null : `${frame.from}.${frame.id}.${frame.sig ?? ""}`;
}

/** Reasons to drop a frame that also occur between honest peers: during a swap of connections or a rekey. */
const harmless: ReadonlySet<DropReason> = new Set(["repeat", "old_epoch"]);

/** Whether a drop is harmless, so that it is not reported as suspicious. */
export function isHarmless(what: DropReason): boolean {
  return harmless.has(what);
}

/** Error codes of a room read after which the room is closed to this peer. */
const roomEnds: ReadonlySet<string> = new Set(["forbidden", "gone", "not_found", "room_forked"]);

/** Whether an error means that the room is closed to this peer. */
export function endsRoom(error: unknown): error is UnibusError {
  return isUnibusError(error) && roomEnds.has(error.code);
}
