/** The history of persisted rooms. It is read by sequence and moves no member's read position. */
import { Type } from "@sinclair/typebox";
import { definePlugin, route } from "../../contracts/plugin.ts";
import { Rooms } from "../../contracts/rooms.ts";
import { type FrameRun, RoomStreams } from "../../contracts/streams.ts";
import { historyLimit } from "../../wire/api.ts";
import { routes } from "../../wire/routes.ts";
import { Outgoing } from "./outgoing.ts";

const nothing: FrameRun = { frames: [], firstSeq: 0, lastSeq: 0, more: false };

/**
 * Parses the requested number of frames. Anything but a positive number means the default.
 * Source: docs/protocol/history.md.
 */
export function limitOf(text: string | undefined): number {
  const asked = /^\d+$/.test(text ?? "") ? Number(text) : 0;
  return asked > 0 ? Math.min(asked, historyLimit.max) : historyLimit.default;
}

/** Builds the reply's JSON without a serializer: base64 needs no escaping. */
function historyJson({ frames, firstSeq, lastSeq, more }: FrameRun): string {
  const messages = frames
    .map((frame) => `"${Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength).toString("base64")}"`)
    .join(",");
  return `{"messages":[${messages}],"first_seq":${firstSeq},"last_seq":${lastSeq},"more":${more}}`;
}

/** Serves GET /rooms/{id}/history. */
export default definePlugin({
  name: "history",
  api: 1,
  config: Type.Object({}, { additionalProperties: false }),
  requires: { rooms: Rooms },
  optional: { streams: RoomStreams },
  routes: Object.values(routes.history),
  async setup(_, { rooms, streams }) {
    const outgoing = new Outgoing();
    return {
      services: {},
      routes: [
        route(routes.history.last, async ({ params, query, caller }) => {
          const { room } = await rooms.member(params.id, caller.endpoint);
          return outgoing.reply(caller.endpoint, async () => {
            if (!room.policy.persist || streams === undefined) return historyJson(nothing);
            const page = { limit: limitOf(query.limit), before: query.before ?? null };
            const run = await streams.last(room, page).catch(async (error: unknown) => {
              // The failed read may be of a stream that was removed with its room.
              await rooms.member(room.roomId, caller.endpoint);
              throw error;
            });
            // An empty result may mean that the room is gone.
            if (run.frames.length === 0) await rooms.member(room.roomId, caller.endpoint);
            return historyJson(run);
          });
        }),
      ],
    };
  },
});
