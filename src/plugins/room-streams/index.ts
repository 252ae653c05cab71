/** The owner of the JetStream stream of each persisted room. */
import { Type } from "@sinclair/typebox";
import { Doctor } from "../../contracts/doctor.ts";
import { Nats } from "../../contracts/nats.ts";
import { definePlugin } from "../../contracts/plugin.ts";
import { Replicas } from "../../contracts/replicas.ts";
import { RoomStore } from "../../contracts/store.ts";
import { RoomStreams, type StreamRoom } from "../../contracts/streams.ts";
import { UnibusError } from "../../wire/errors.ts";
import { streamName } from "../../wire/names.ts";
import { type RoomStreamConfig, roomStreamConfig } from "../../wire/room-stream.ts";
import { enforceCapacity } from "./capacity.ts";
import { makeDoctor } from "./doctor.ts";
import { Durables } from "./durables.ts";
import { type ApiReply, JetStream, jsCode, refuseOthers, type StreamInfo } from "./jetstream.ts";
import { lastFrames } from "./last.ts";
import { sweepEvery } from "./sweep.ts";

/** Fields that the byte limit of a room changes after its creation. */
const changedLater = new Set<string>(["max_bytes", "discard"]);

/** Whether a stream has the configuration that a room's must have. */
function isRight(info: StreamInfo, wanted: RoomStreamConfig): boolean {
  return Object.entries(wanted).every(
    ([key, value]) => changedLater.has(key) || JSON.stringify(info.config[key]) === JSON.stringify(value),
  );
}

/** Provides the room streams over BUS. */
export default definePlugin({
  name: "room-streams",
  api: 1,
  config: Type.Object({}, { additionalProperties: false }),
  provides: { streams: RoomStreams, doctor: Doctor },
  requires: { nats: Nats, rooms: RoomStore },
  optional: { replicas: Replicas },

  async setup({ log, now, signal }, { nats, rooms, replicas }) {
    const js = new JetStream(await nats.connection("BUS"));
    const configOf = async ({ roomId, subject }: StreamRoom) => {
      const copies = (await replicas?.count()) ?? 1;
      return roomStreamConfig({ roomId, subject, replicas: copies, bytesMax: -1, whenFull: "refuse" });
    };

    const create = async (room: StreamRoom): Promise<StreamInfo> => {
      const config = await configOf(room);
      const expected = [jsCode.nameInUse, jsCode.subjectsOverlap];
      const made = refuseOthers(await js.call<StreamInfo>(`STREAM.CREATE.${config.name}`, config), ...expected);
      if (made.error?.err_code === jsCode.subjectsOverlap) {
        const mend = "choose another, or try again in a minute if you have just deleted it";
        throw new UnibusError("conflict", `the subject ${room.subject} belongs to another room (${mend})`);
      }
      return made.error === undefined ? made : mend(room);
    };

    /** The stream is there with another configuration: bring it in line, but keep what the byte limit set. */
    const mend = async (room: StreamRoom): Promise<StreamInfo> => {
      const config = await configOf(room);
      const info = refuseOthers(await js.call<StreamInfo>(`STREAM.INFO.${config.name}`));
      if (isRight(info, config)) return info;
      const { max_bytes, discard } = info.config;
      return refuseOthers(await js.call<StreamInfo>(`STREAM.UPDATE.${config.name}`, { ...config, max_bytes, discard }));
    };

    /** The stream's state, whatever had to be done for it. */
    const ensured = async (room: StreamRoom): Promise<StreamInfo> => {
      const name = streamName(room.roomId);
      const info = refuseOthers(await js.call<StreamInfo>(`STREAM.INFO.${name}`), jsCode.streamNotFound);
      if (info.error !== undefined) return create(room);
      return isRight(info, await configOf(room)) ? info : mend(room);
    };

    const durables = new Durables({ js, rooms, log, signal });
    const streams: RoomStreams = {
      bind: (room, endpoint, device) => durables.bind(room, endpoint, device),
      settle: (room) => durables.settle(room),
      enforce: (capacity) => enforceCapacity(js, capacity, log),
      async ensure(room) {
        await create(room);
      },
      async last(room, page) {
        const info = await ensured(room);
        return lastFrames(js, streamName(room.roomId), info.state, page);
      },
      async remove(roomId) {
        refuseOthers(await js.call<ApiReply>(`STREAM.DELETE.${streamName(roomId)}`), jsCode.streamNotFound);
      },
    };
    return {
      services: { streams, doctor: makeDoctor({ js, rooms, streams, now }, durables) },
      async start() {
        sweepEvery({ js, rooms, streams, log, now, signal });
      },
      async health() {
        refuseOthers(await js.call<ApiReply>("INFO"));
        return { ok: true };
      },
    };
  },
});
