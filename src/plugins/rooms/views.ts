import type { Membership, RoomRecord, StayRecord } from "../../contracts/store.ts";

const base = ({ roomId, subject, epoch, policy }: RoomRecord) => ({ room_id: roomId, subject, epoch, policy });

/** A room as its creation answers. */
export function roomReply(room: RoomRecord) {
  return { ...base(room), created_at: new Date(room.createdAt).toISOString() };
}

/** A room as one of its members reads it. */
export function membershipReply({ room, stay }: Membership) {
  return { ...base(room), role: stay.role, version: room.version, rekey_pending: room.rekeyPending };
}

/** A room in the list of a member's rooms. `live`: the member's grant holds it. */
export function roomListEntry(membership: Membership, live: ReadonlySet<string>) {
  const { room, stay } = membership;
  const standing = { accepted: stay.acceptedAt !== null, live: live.has(room.roomId), added_by: stay.addedBy };
  return { ...membershipReply(membership), ...standing };
}

/** One stay, in the order of the signed line. */
export function memberReply(stay: StayRecord) {
  const { endpoint, sign_pub, kex_pub, kex_sig, role, since, until, leftAt, handle } = stay;
  return { endpoint, sign_pub, kex_pub, kex_sig, role, since, until, left: leftAt !== null, handle };
}
