import { token } from "./plugin.ts";
import type { Membership } from "./store.ts";

/** A membership that a login may grant. */
export interface GrantableMembership extends Membership {
  /** Whether the room is small enough for signals: see `rooms.signal_members_max`. */
  readonly signals: boolean;
}

/** Room membership, for other plugins. */
export interface Rooms {
  /**
   * Returns a live room and the caller's current membership in it.
   * Errors: not_found, gone (the room was deleted), forbidden (not a member, or left), checked in that order.
   */
  member(roomId: string, endpoint: string): Promise<Membership>;
  /** The live rooms that a user created or accepted, by room id. `grantOf` decides which of them a login grants. */
  accepted(endpoint: string): Promise<GrantableMembership[]>;
}

/** The token of the room membership service. */
export const Rooms = token<Rooms>("rooms");
