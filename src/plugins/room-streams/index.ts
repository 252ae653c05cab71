/** The plugin that owns the JetStream stream of each persisted room. */
import { Type } from "@sinclair/typebox";
import { Doctor } from "../../contracts/doctor.ts";
import { Nats } from "../../contracts/nats.ts";
import { definePlugin } from "../../contracts/plugin.ts";
import { Replicas } from "../../contracts/replicas.ts";
import { RoomStore } from "../../contracts/store.ts";
import { RoomStreams, type StreamRoom } from "../../contracts/streams.ts";
import { BatchedReader } from "../../nats/batched-reader.ts";
import { type ApiReply, JetStream, jsCode } from "../../nats/jetstream.ts";
import { streamName } from "../../wire/names.ts";
import { enforceCapacity } from "./capacity.ts";
import { makeDoctor } from "./doctor.ts";
import { Durables } from "./durables.ts";
import { eraseMessage, storedFrame } from "./erase.ts";
import { expectReply, streamErrors } from "./errors.ts";
import { lastFrames, nextFrames } from "./frames.ts";
import type { StreamInfo } from "./stream-info.ts";
import { StreamMaker } from "./stream-maker.ts";
import { sweepEvery } from "./sweep.ts";
import { StreamTrouble } from "./trouble.ts";

/** How long JetStream may take to answer a health check, in milliseconds: less than that may take in all. */
const healthCallMs = 1_500;

/** Provides the room streams, in the account BUS. */
export default definePlugin({
  name: "room-streams",
  api: 1,
  config: Type.Object({}, { additionalProperties: false }),
  provides: { streams: RoomStreams, doctor: Doctor },
  requires: { nats: Nats, rooms: RoomStore },
  optional: { replicas: Replicas },

  async setup({ log, now, signal }, { nats, rooms, replicas }) {
    const js = new JetStream(await nats.connection("BUS"), streamErrors);
    const reader = new BatchedReader(js);
    const maker = new StreamMaker({ js, rooms, replicas });
    const trouble = new StreamTrouble(js, maker);
    const durables = new Durables({ js, rooms, log, signal });
    let full: ReadonlySet<string> = new Set();
    const onStream = <T>(room: StreamRoom, work: (info: StreamInfo) => Promise<T>): Promise<T> =>
      trouble.watch(room.roomId, async () => work(await maker.ensured(room)));
    const streams: RoomStreams = {
      bind: (room, endpoint, device, isNew) => durables.bind(room, endpoint, device, isNew),
      unbind: (room, endpoint, device) => durables.unbind(room, endpoint, device),
      settle: (room) => durables.settle(room),
      async enforce(capacity) {
        full = await enforceCapacity(js, capacity, log);
      },
      ensure: (room) =>
        trouble.watch(room.roomId, async () => {
          await maker.make(room);
        }),
      last: (room, page) => onStream(room, ({ state }) => lastFrames(reader, streamName(room.roomId), state, page)),
      next: (room, { limit, from }) =>
        onStream(room, ({ state }) => {
          const start = "after" in from ? { seq: from.after + 1 } : { at: from.since };
          return nextFrames(reader, streamName(room.roomId), state, { limit, from: start });
        }),
      async sizeOf(roomId) {
        const found = await js.call<StreamInfo>(`STREAM.INFO.${streamName(roomId)}`);
        const info = expectReply(found, jsCode.streamNotFound);
        return info.error === undefined ? { messages: info.state.messages, bytes: info.state.bytes } : null;
      },
      stored: (room, seq) => onStream(room, (info) => storedFrame(js, info, room, seq)),
      erase: ({ roomId }, seq) => trouble.watch(roomId, () => eraseMessage(js, roomId, seq)),
      facts: (roomId) => ({ stream: streamName(roomId), full: full.has(streamName(roomId)) }),
      remove: (roomId) => maker.remove(roomId),
    };
    return {
      services: { streams, doctor: makeDoctor({ js, rooms, streams, now }, durables) },
      async start() {
        sweepEvery({ js, rooms, streams, log, now, signal });
      },
      async health() {
        expectReply(await js.call<ApiReply>("INFO", "", healthCallMs));
        return trouble.health();
      },
    };
  },
});
