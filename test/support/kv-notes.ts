/**
 * Checks the notes that the KV store keeps beside its rooms: which rooms a user created, is in, or was added to and has
 * not accepted. Quotas count the notes, so after races they must match a recount of the rooms.
 */
import type { NatsConnection } from "nats";
import { isIn } from "../../src/contracts/stay-rules.ts";
import type { RoomStore } from "../../src/contracts/store.ts";
import { type ApiReply, JetStream } from "../../src/nats/jetstream.ts";
import { streamErrors } from "../../src/plugins/room-streams/errors.ts";
import { bucketStream, buckets } from "../../src/wire/names.ts";

type Noted = Readonly<Record<string, unknown>>;

/** Returns the room ids of a note: those of unaccepted rooms are grouped by adder. */
function roomsOf(kind: string, value: Noted): string[] {
  return kind === "unaccepted"
    ? Object.values(value).flatMap((rooms) => Object.keys(rooms as Noted))
    : Object.keys(value);
}

/** Reports whether a room matches the note of an endpoint. */
async function isSo(rooms: RoomStore, kind: string, endpoint: string, roomId: string): Promise<boolean> {
  const room = await rooms.getRoom(roomId);
  if (room === null || room.deletedAt !== null) return false;
  if (kind === "creator") return room.creator === endpoint;
  const stay = await rooms.getStay(roomId, endpoint);
  if (stay === null) return false;
  return kind === "unaccepted" ? isIn(stay) && stay.acceptedAt === null : true;
}

/** Returns notes that do not match their rooms. `connection`: of the account that holds the buckets. */
export async function staleNotes(rooms: RoomStore, connection: NatsConnection): Promise<string[]> {
  const js = new JetStream(connection, streamErrors);
  const stream = bucketStream(buckets.roomsByMember);
  const root = `$KV.${buckets.roomsByMember}.`;
  const query = { subjects_filter: `${root}>` };
  const info = await js.call<ApiReply & { state: { subjects?: Noted } }>(`STREAM.INFO.${stream}`, query);
  const stale: string[] = [];
  for (const subject of Object.keys(info.state.subjects ?? {})) {
    const reply = await js.call<ApiReply & { message?: { data?: string } }>(`STREAM.MSG.GET.${stream}`, {
      last_by_subj: subject,
    });
    const [kind = "", endpoint = kind] = subject.slice(root.length).split(".");
    const value = JSON.parse(Buffer.from(reply.message?.data ?? "", "base64").toString() || "{}") as Noted;
    for (const roomId of roomsOf(kind, value)) {
      if (!(await isSo(rooms, kind, endpoint, roomId))) stale.push(`${subject} notes ${roomId}, which is not so`);
    }
  }
  return stale;
}
