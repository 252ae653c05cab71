import { token } from "./plugin.ts";
import type { Membership } from "./store.ts";

/** Who is in which room, for plugins that must know. */
export interface Rooms {
  /**
   * A live room and the caller's open stay in it.
   * Errors: not_found, gone (deleted), forbidden (no member, or left), in that order.
   */
  member(roomId: string, endpoint: string): Promise<Membership>;
  /** The live rooms that a peer made or accepted, by room id: `grantOf` says which of them a login grants. */
  accepted(endpoint: string): Promise<Membership[]>;
}

/** The rooms' rules. */
export const Rooms = token<Rooms>("rooms");
