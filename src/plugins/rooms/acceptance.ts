/** Which of their rooms members take part in: accepting a stay, and the list that says what waits for it. */
import type { Static } from "@sinclair/typebox";
import { grantOf } from "../../contracts/grant.ts";
import { accepting } from "../../contracts/stay-rules.ts";
import { type RoomList, type RoomsQuery, roomsMax } from "../../wire/api.ts";
import type { Parts } from "./parts.ts";
import { roomListEntry } from "./views.ts";

/**
 * Accepts a member's stay, so that it counts on the data plane from the next login on, and notifies the member's other
 * devices. Idempotent. Errors: not_found, gone, forbidden.
 */
export async function acceptRoom(
  roomId: string,
  endpoint: string,
  { store, rooms, rules, notices }: Parts,
): Promise<void> {
  await rooms.member(roomId, endpoint);
  const changed = await store.changeStay(roomId, endpoint, accepting(rules.now()));
  if (changed !== null) notices.tell([endpoint], "accepted", roomId);
  // It was accepted before, or its member is out since: only the former counts as done.
  else await rooms.member(roomId, endpoint);
}

/** A page of a member's rooms, each with whether it is accepted and whether the member's grant holds it. */
export async function listOwnRooms(
  endpoint: string,
  { after, limit = roomsMax, accepted }: Static<typeof RoomsQuery>,
  { store, rooms }: Parts,
): Promise<Static<typeof RoomList>> {
  const filter = accepted === undefined ? {} : { accepted };
  const page = await store.listRoomsOf(endpoint, { after: after ?? null, limit, ...filter });
  const isWhole = after === undefined && page.length < limit && accepted !== false;
  const isNone = page.every(({ stay }) => stay.acceptedAt === null);
  // What fits depends on all that the member accepted: that is read only where the page does not show it.
  const all = isNone || isWhole ? page : await rooms.accepted(endpoint);
  const { roomIds } = grantOf(endpoint, all);
  return page.map((membership) => roomListEntry(membership, roomIds));
}
