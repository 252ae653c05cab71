import type { Membership, RoomRecord, StayRecord } from "../../contracts/store.ts";
import type { RoomStreams } from "../../contracts/streams.ts";

const base = ({ roomId, subject, epoch, policy }: RoomRecord) => ({ room_id: roomId, subject, epoch, policy });

/** The reply for a created room. */
export function roomReply(room: RoomRecord) {
  return { ...base(room), created_at: new Date(room.createdAt).toISOString() };
}

/** The reply for a room that one of its members reads. `streams` is undefined if the bus stores no messages. */
export function membershipReply({ room, stay }: Membership, streams: Pick<RoomStreams, "facts"> | undefined) {
  const facts = (room.policy.persist ? streams?.facts(room.roomId) : undefined) ?? { stream: null, full: false };
  return { ...base(room), role: stay.role, version: room.version, rekey_pending: room.rekeyPending, ...facts };
}

/** An entry in the list of a member's rooms. `live`: the member's grant includes the room. */
export function roomListEntry(
  membership: Membership,
  live: ReadonlySet<string>,
  streams: Pick<RoomStreams, "facts"> | undefined,
) {
  const { room, stay } = membership;
  const standing = { accepted: stay.acceptedAt !== null, live: live.has(room.roomId), added_by: stay.addedBy };
  return { ...membershipReply(membership, streams), ...standing };
}

/** The reply for one stay, with the fields in the order of the signed line. */
export function memberReply(stay: StayRecord) {
  const { endpoint, sign_pub, kex_pub, kex_sig, role, since, until, leftAt, handle } = stay;
  return { endpoint, sign_pub, kex_pub, kex_sig, role, since, until, left: leftAt !== null, handle };
}
