/** The history of persisted rooms. It is read by sequence and moves no member's read position. Erases messages. */
import { type Static, Type } from "@sinclair/typebox";
import { Denials } from "../../contracts/denials.ts";
import { definePlugin, route } from "../../contracts/plugin.ts";
import { Rooms } from "../../contracts/rooms.ts";
import { type FrameRun, type HistoryStart, RoomStreams } from "../../contracts/streams.ts";
import { type HistoryQuery, historyLimit } from "../../wire/api.ts";
import { UnibusError } from "../../wire/errors.ts";
import { routes } from "../../wire/routes.ts";
import { Eraser } from "./erase.ts";
import { Outgoing } from "./outgoing.ts";

const nothing: FrameRun = { frames: [], seqs: [], firstSeq: 0, lastSeq: 0, more: false };

/**
 * Parses the requested number of frames. Anything but a positive number means the default.
 * Source: docs/protocol/history.md.
 */
export function limitOf(text: string | undefined): number {
  const asked = /^\d+$/.test(text ?? "") ? Number(text) : 0;
  return asked > 0 ? Math.min(asked, historyLimit.max) : historyLimit.default;
}

const rfc3339 = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)$/;
/** The latest time that JetStream can compare, in milliseconds: its times are nanoseconds in 64 bits. */
const latestMs = 9_000_000_000_000;

/** Parses a time. Units: milliseconds, rounded down. Errors: invalid. */
export function timeOf(text: string): number {
  const at = rfc3339.test(text) ? Date.parse(text.toUpperCase()) : Number.NaN;
  if (Number.isNaN(at)) {
    const hint = "use RFC 3339, as in 2026-11-30T10:15:00Z; write + as %2B";
    throw new UnibusError("invalid", `since=${text} is not a time (${hint})`);
  }
  return Math.min(latestMs, Math.max(0, at));
}

/** Where a requested page begins: forwards from a start, or backwards. Errors: invalid. */
function startOf({ before, after, since }: Static<typeof HistoryQuery>): HistoryStart | { before: number | null } {
  if ([before, after, since].filter((one) => one !== undefined).length > 1) {
    throw new UnibusError("invalid", "before, after and since exclude each other (send one of them)");
  }
  if (after !== undefined) return { after };
  if (since !== undefined) return { since: timeOf(since) };
  return { before: before ?? null };
}

/** Builds the reply's JSON without a serializer: base64 needs no escaping. */
function historyJson({ frames, seqs, firstSeq, lastSeq, more }: FrameRun): string {
  const messages = frames
    .map((frame) => `"${Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength).toString("base64")}"`)
    .join(",");
  const range = `"first_seq":${firstSeq},"last_seq":${lastSeq},"more":${more}`;
  return `{"messages":[${messages}],"seqs":[${seqs.join(",")}],${range}}`;
}

/** Serves GET /rooms/{id}/history and DELETE /rooms/{id}/messages/{seq}. */
export default definePlugin({
  name: "history",
  api: 1,
  config: Type.Object({}, { additionalProperties: false }),
  requires: { rooms: Rooms },
  optional: { streams: RoomStreams, denials: Denials },
  routes: Object.values(routes.history),
  async setup({ log, now }, { rooms, streams, denials }) {
    const outgoing = new Outgoing();
    const eraser = new Eraser({ rooms, streams, denials, log, now });
    return {
      services: {},
      routes: [
        route(routes.history.last, async ({ params, query, caller }) => {
          const { room } = await rooms.member(params.id, caller.endpoint);
          const start = startOf(query);
          const limit = limitOf(query.limit);
          return outgoing.reply(caller.endpoint, async () => {
            if (!room.policy.persist || streams === undefined) return historyJson(nothing);
            const reading =
              "before" in start ? streams.last(room, { limit, ...start }) : streams.next(room, { limit, from: start });
            const run = await reading.catch(async (error: unknown) => {
              // The failed read may be of a stream that was removed with its room.
              await rooms.member(room.roomId, caller.endpoint);
              throw error;
            });
            // An empty result may mean that the room is gone.
            if (run.frames.length === 0) await rooms.member(room.roomId, caller.endpoint);
            return historyJson(run);
          });
        }),
        route(routes.history.erase, async (call) => ({
          sha256: await eraser.erase(call.params.id, Number(call.params.seq), call),
        })),
      ],
    };
  },
});
