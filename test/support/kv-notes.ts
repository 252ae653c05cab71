/**
 * The notes that the KV store keeps beside its rooms: which rooms a user made, is in, or was added to and has not
 * accepted. Quotas count them, so after races they have to be what a recount of the rooms gives.
 */
import type { NatsConnection } from "nats";
import { isIn } from "../../src/contracts/stay-rules.ts";
import type { RoomStore } from "../../src/contracts/store.ts";
import { type ApiReply, JetStream } from "../../src/plugins/room-streams/jetstream.ts";
import { bucketStream, buckets } from "../../src/wire/names.ts";

type Noted = Readonly<Record<string, unknown>>;

/** The room ids of a note: those of unaccepted rooms are kept by adder. */
function roomsOf(kind: string, value: Noted): string[] {
  return kind === "unaccepted"
    ? Object.values(value).flatMap((rooms) => Object.keys(rooms as Noted))
    : Object.keys(value);
}

/** Whether a room is what the note of an endpoint says. */
async function isSo(rooms: RoomStore, kind: string, endpoint: string, roomId: string): Promise<boolean> {
  const room = await rooms.getRoom(roomId);
  if (room === null || room.deletedAt !== null) return false;
  if (kind === "creator") return room.creator === endpoint;
  const stay = await rooms.getStay(roomId, endpoint);
  if (stay === null) return false;
  return kind === "unaccepted" ? isIn(stay) && stay.acceptedAt === null : true;
}

/** Notes of rooms that are not as they say. `connection`: of the account that holds the buckets. */
export async function staleNotes(rooms: RoomStore, connection: NatsConnection): Promise<string[]> {
  const js = new JetStream(connection);
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
