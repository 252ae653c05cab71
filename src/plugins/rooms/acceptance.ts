/** A member's acceptance of rooms: accepting a stay, and the list that shows which rooms await acceptance. */
import type { Static } from "@sinclair/typebox";
import { grantOf } from "../../contracts/grant.ts";
import { accepting, changeStay } from "../../contracts/stay-rules.ts";
import { type RoomList, type RoomsQuery, roomsMax } from "../../wire/api.ts";
import type { RoomsContext } from "./context.ts";
import { roomListEntry } from "./replies.ts";

/**
 * Accepts a member's stay, so that the room is in the member's grant from the next login, and notifies the member's
 * other devices. Idempotent. Errors: not_found, gone, forbidden.
 */
export async function acceptRoom(
  roomId: string,
  endpoint: string,
  { store, rooms, rules, notices }: RoomsContext,
): Promise<void> {
  const { stay: known } = await rooms.member(roomId, endpoint);
  const changed = await changeStay(store, { roomId, endpoint, known }, accepting(rules.now()));
  if (changed !== null) notices.notify([endpoint], "accepted", roomId);
  // It was accepted before, which is a success, or the member is out by now, which throws.
  else await rooms.member(roomId, endpoint);
}

/** Returns a page of a member's rooms, each with its acceptance and whether the member's grant includes it. */
export async function listOwnRooms(
  endpoint: string,
  { after, limit = roomsMax, accepted }: Static<typeof RoomsQuery>,
  { store, rooms, streams }: RoomsContext,
): Promise<Static<typeof RoomList>> {
  const filter = accepted === undefined ? {} : { accepted };
  const page = await store.listRoomsOf(endpoint, { after: after ?? null, limit, ...filter });
  const isWhole = after === undefined && page.length < limit && accepted !== false;
  const isNone = page.every(({ stay }) => stay.acceptedAt === null);
  // The grant depends on all accepted rooms. They are read only if this page does not contain all of them.
  const all = isNone || isWhole ? page : await rooms.accepted(endpoint);
  const { roomIds } = grantOf(endpoint, all);
  return page.map((membership) => roomListEntry(membership, roomIds, streams));
}
