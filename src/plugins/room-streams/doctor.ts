import type { Doctor, Finding } from "../../contracts/doctor.ts";
import type { RoomRecord } from "../../contracts/store.ts";
import { jsCode } from "../../nats/jetstream.ts";
import { isUlid, streamName } from "../../wire/names.ts";
import type { Durables } from "./durables.ts";
import { expectReply } from "./errors.ts";
import type { StreamInfo } from "./stream-info.ts";
import { roomPages, type SweepDeps, streamNames } from "./sweep.ts";

/** A younger stream without a row may belong to a room that is being created. In milliseconds. */
const creationMs = 10_000;

const roomIdOf = (stream: string): string => stream.slice(streamName("").length);

/** Creates the doctor: it compares streams and consumers with rows on demand, and repairs single findings. */
export function makeDoctor(parts: Omit<SweepDeps, "log" | "signal">, durables: Durables): Doctor {
  const { js, rooms, streams, now } = parts;

  const isOrphan = async (stream: string, room: RoomRecord | null): Promise<boolean> => {
    if (room !== null) return room.deletedAt !== null;
    const info = expectReply(await js.call<StreamInfo>(`STREAM.INFO.${stream}`), jsCode.streamNotFound);
    return info.error === undefined && now() - Date.parse(info.created) >= creationMs;
  };

  return {
    async examine() {
      const names = await streamNames(js);
      const found: Finding[] = [];
      for await (const room of roomPages(rooms)) {
        if (!room.policy.persist || room.deletedAt !== null) continue;
        const stream = streamName(room.roomId);
        if (!names.delete(stream)) {
          found.push({ kind: "row_without_stream", stream });
          continue;
        }
        const { strangers } = await durables.compare(room.roomId);
        for (const { name } of strangers) found.push({ kind: "consumer_without_device", stream, consumer: name });
      }
      for (const stream of names) {
        const roomId = roomIdOf(stream);
        if (!isUlid(roomId) || !(await isOrphan(stream, await rooms.getRoom(roomId)))) continue;
        found.push({ kind: "stream_without_row", stream });
      }
      return found;
    },

    async fix({ kind, stream }) {
      const room = await rooms.getRoom(roomIdOf(stream));
      if (kind === "stream_without_row") {
        if (await isOrphan(stream, room)) await streams.remove(roomIdOf(stream));
      } else if (room !== null && room.deletedAt === null) {
        if (kind === "row_without_stream") await streams.ensure(room);
        else await durables.settleNow(room.roomId);
      }
    },
  };
}
