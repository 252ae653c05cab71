/** Which dropped frames and failed reads of a room matter. */
import { isUnibusError, type UnibusError } from "../../wire/errors.ts";
import type { DropReason } from "../../wire/frame.ts";

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
