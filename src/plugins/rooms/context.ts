import type { Denials } from "../../contracts/denials.ts";
import type { Notices } from "../../contracts/notices.ts";
import type { Log } from "../../contracts/plugin.ts";
import type { Rooms } from "../../contracts/rooms.ts";
import type { RoomStore, UserStore } from "../../contracts/store.ts";
import type { Capacity, RoomStreams } from "../../contracts/streams.ts";
import type { WayBackStore } from "../../contracts/way-back.ts";
import { UnibusError } from "../../wire/errors.ts";
import type { CreateRules } from "./create.ts";
import type { RoomMembership } from "./membership.ts";

/** The error for a deleted room. */
export function gone(): UnibusError {
  return new UnibusError("gone", "this room was deleted (create another one)");
}

/** The services that the routes of rooms share. */
export interface RoomsContext {
  readonly store: RoomStore;
  readonly users: UserStore;
  readonly streams: RoomStreams | undefined;
  readonly rooms: Rooms;
  readonly rules: CreateRules;
  readonly life: RoomMembership;
  readonly notices: Notices;
  readonly denials: Denials | undefined;
  readonly capacity: Capacity;
  readonly wayBack: WayBackStore;
  readonly log: Log;
}
