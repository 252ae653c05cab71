/** The rooms of this peer, as the server lists them. */
import type { Static } from "@sinclair/typebox";
import { type RoomList, roomsMax } from "../../wire/api.ts";
import { UnibusError } from "../../wire/errors.ts";
import { parseRoomLink, type RoomLink } from "../../wire/fingerprint.ts";
import type { Policy } from "../../wire/statement.ts";
import type { ControlPlane } from "../transport/control.ts";

/** An entry in the list of this peer's rooms. The server's statement, not verified until the room is opened. */
export interface RoomEntry {
  readonly id: string;
  readonly subject: string;
  readonly role: "owner" | "member";
  readonly policy: Policy;
  readonly epoch: number;
  readonly rekeyPending: boolean;
  /** Whether this peer created or accepted the room. Until then it receives nothing from the room. */
  readonly accepted: boolean;
  /**
   * Whether its messages are delivered: false if it is not accepted, or does not fit in the permissions of one login.
   */
  readonly live: boolean;
  /** The endpoint of the owner who added this peer; null if the server did not record it. */
  readonly addedBy: string | null;
}

function entryOf(room: Static<typeof RoomList>[number]): RoomEntry {
  const { room_id: id, subject, role, policy, epoch, rekey_pending: rekeyPending, accepted, live } = room;
  return { id, subject, role, policy, epoch, rekeyPending, accepted, live, addedBy: room.added_by };
}

/** The most pages of a list of rooms that are read. */
export const roomPagesMax = 200;

/**
 * This peer's rooms, page by page, ordered by id. The filter selects accepted or unaccepted ones.
 * Errors: those of GET rooms; unavailable for a list that does not end.
 */
export async function* roomPages(
  control: ControlPlane,
  filter: { readonly accepted?: boolean } = {},
  signal?: AbortSignal,
): AsyncGenerator<readonly RoomEntry[], void> {
  let after: string | undefined;
  for (let count = 0; count < roomPagesMax; count++) {
    const page = await control.rooms({ ...filter, ...(after === undefined ? {} : { after }) }, signal);
    // A server that repeats entries must not keep the client reading for ever.
    const entries = page.map(entryOf).filter(({ id }) => after === undefined || id > after);
    yield entries;
    after = entries.at(-1)?.id;
    if (page.length < roomsMax || after === undefined) return;
  }
  const most = roomPagesMax * roomsMax;
  throw new UnibusError("unavailable", `the server lists more than ${most} rooms (leave some, or do not trust it)`);
}

/**
 * This peer's room with a subject, or null. Accepted rooms are searched first, because there may be very many others.
 * They are searched again at the end, because another program of this peer may have accepted the room in between.
 */
export async function findRoom(
  control: ControlPlane,
  subject: string,
  signal?: AbortSignal,
): Promise<RoomEntry | null> {
  for (const accepted of [true, false, true]) {
    for await (const page of roomPages(control, { accepted }, signal)) {
      const entry = page.find((room) => room.subject === subject);
      if (entry !== undefined) return entry;
    }
  }
  return null;
}

/** Parses a room link. Errors: invalid for a damaged link. */
export function roomLinkOf(text: string): RoomLink {
  const link = parseRoomLink(text);
  if (link !== null) return link;
  throw new UnibusError(
    "invalid",
    `not a room link: ${JSON.stringify(text)} (paste the whole link, as in .../room#ID.HEX)`,
  );
}
