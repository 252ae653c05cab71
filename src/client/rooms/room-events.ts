/** The events of a room besides messages. All but `integrity` come from statements that owners signed. */
import type { RoomRole } from "../../wire/statement.ts";
import type { Events } from "../events.ts";
import type { MemberStep } from "../trust/member-steps.ts";
import type { VerifiedMember } from "../trust/verified-room.ts";
import type { DirectWatch } from "./direct-watch.ts";
import type { RoomIntegrity } from "./room-integrity.ts";

/** A change of a room that an owner signed. */
export interface SignedChange {
  /** The endpoint of that owner; null if several owners changed the room between two reads and it is unclear who. */
  readonly by: string | null;
}

/** A change of one member. */
export interface MemberChange extends SignedChange {
  readonly endpoint: string;
  /** As the server states it. */
  readonly handle: string;
  readonly role: RoomRole;
}

/** Events of a room, by name, with the type of their detail. */
export type RoomEvents = {
  /**
   * An owner added a member. The server does not notify the other members of that: this comes when the client reads the
   * room, at the latest with the first message of the new member.
   */
  readonly added: MemberChange;
  /** An owner removed a member, or signed the removal of one who had left. A new epoch begins: see `rekeyed`. */
  readonly removed: MemberChange;
  /** A member became an owner, or an owner a plain member. */
  readonly role: MemberChange;
  /** A new epoch began, in an encrypted room with a new key. */
  readonly rekeyed: SignedChange & { readonly epoch: number };
  /** The chains of the messages show something new: see `room.integrity`. It never stops reading or sending. */
  readonly integrity: RoomIntegrity;
};

/** Emits what changed in a room, after `direct` has taken it. */
export function emitSteps(
  events: Events<RoomEvents>,
  direct: DirectWatch,
  steps: readonly MemberStep<VerifiedMember>[],
): void {
  direct.took(steps);
  for (const step of steps) {
    const { by } = step;
    if (step.kind === "rekeyed") events.emit("rekeyed", { by, epoch: step.epoch });
    else {
      const { endpoint, handle, role } = step.line;
      events.emit(step.kind, { by, endpoint, handle, role: step.kind === "added" ? "member" : role });
    }
  }
}
