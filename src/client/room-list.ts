/** The rooms of this peer as the bus lists them. */
import type { Static } from "@sinclair/typebox";
import { type RoomList, roomsMax } from "../wire/api.ts";
import { UnibusError } from "../wire/errors.ts";
import { parseRoomLink, type RoomLink } from "../wire/fingerprint.ts";
import type { Policy } from "../wire/statement.ts";
import type { ControlPlane } from "./control.ts";

/** A room in the list of one's rooms. It is the bus's word until the room is opened. */
export interface RoomEntry {
  readonly id: string;
  readonly subject: string;
  readonly role: "owner" | "member";
  readonly policy: Policy;
  readonly epoch: number;
  readonly rekeyPending: boolean;
  /** Whether this peer made the room or accepted it. Until then nothing of the room reaches this peer. */
  readonly accepted: boolean;
  /** Whether its messages come: false for a room that is not accepted, or that is more than one login can carry. */
  readonly live: boolean;
  /** The endpoint of the owner who added this peer; null where the bus did not record it. */
  readonly addedBy: string | null;
}

function entryOf(room: Static<typeof RoomList>[number]): RoomEntry {
  const { room_id: id, subject, role, policy, epoch, rekey_pending: rekeyPending, accepted, live } = room;
  return { id, subject, role, policy, epoch, rekeyPending, accepted, live, addedBy: room.added_by };
}

/**
 * One's rooms page by page, by id; only those that are accepted, or not, where that is asked for.
 * Errors: those of GET rooms.
 */
export async function* roomPages(
  control: ControlPlane,
  filter: { readonly accepted?: boolean } = {},
  signal?: AbortSignal,
): AsyncGenerator<readonly RoomEntry[], void> {
  for (let after: string | undefined; ; ) {
    const page = await control.rooms({ ...filter, ...(after === undefined ? {} : { after }) }, signal);
    // A bus that repeats itself would be read for ever.
    const entries = page.map(entryOf).filter(({ id }) => after === undefined || id > after);
    yield entries;
    after = entries.at(-1)?.id;
    if (page.length < roomsMax || after === undefined) return;
  }
}

/**
 * One's room with a subject, or null. Those that are accepted are read first: of the others there may be very many.
 * They are read again at the end, because another program of this peer may have accepted it between the two.
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

/** The room that a link names. Errors: invalid for a damaged link. */
export function roomLinkOf(text: string): RoomLink {
  const link = parseRoomLink(text);
  if (link !== null) return link;
  throw new UnibusError("invalid", `not a room link: ${JSON.stringify(text)} (paste it whole, as .../room#ID.HEX)`);
}
