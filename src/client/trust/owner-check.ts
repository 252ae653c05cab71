/**
 * Detects owners of a room who may be impersonating another user: their handle, which the server assigns, is pinned to
 * another endpoint, or looks like such a handle. A forged copy of a room shows the names that its reader expects. So
 * such a room is reported before anything is sealed for it or sent to it, and is blocked until a person approves.
 * Source: docs/protocol/rooms.md.
 */
import { UnibusError } from "../../wire/errors.ts";
import { lookAlike } from "../../wire/looks.ts";
import type { ClientState, HandlePin } from "./state.ts";
import type { VerifiedRoom } from "./verified-room.ts";

/** An owner, and the user they may be mistaken for. */
export interface OwnerConflict {
  /** The owner's handle, as the server shows it. */
  readonly handle: string;
  readonly endpoint: string;
  /** The handle and endpoint that this client knew first. */
  readonly known: HandlePin;
}

/** The owners of a room who may be mistaken for another user, without `me`. Errors: those of the state. */
export async function ownerConflicts(
  { present }: Pick<VerifiedRoom, "present">,
  me: string,
  state: ClientState,
): Promise<OwnerConflict[]> {
  const pins = await state.handles();
  const owners = present.filter(({ role, endpoint }) => role === "owner" && endpoint !== me);
  return owners.flatMap(({ handle, endpoint }) => {
    // The user named this owner by exactly this handle before, so a similar handle elsewhere does not matter.
    if (pins.some((pin) => pin.handle === handle && pin.endpoint === endpoint)) return [];
    const known = pins.find((pin) => pin.endpoint !== endpoint && lookAlike(pin.handle, handle));
    return known === undefined ? [] : [{ handle, endpoint, known }];
  });
}

/** The error for a room some of whose owners may be mistaken for another user. */
export function ownerConflictError(subject: string, conflicts: readonly OwnerConflict[]): UnibusError {
  const each = conflicts.map(({ handle, endpoint, known }) => {
    const name = handle === known.handle ? "that name" : `${JSON.stringify(known.handle)}, which looks the same,`;
    return `${JSON.stringify(handle)} is ${endpoint}, but you know ${name} as ${known.endpoint}`;
  });
  const hint = "compare the room's fingerprint with them, then approve with --approve";
  return new UnibusError("forbidden", `${subject} has an owner who may be an impostor: ${each.join("; ")} (${hint})`);
}
