import { frameBytesMax } from "./frame.ts";
import { streamName } from "./names.ts";

/** What happens when a message is published to a room that has reached its byte limit. */
export type WhenFull = "refuse" | "drop_oldest";

/** How long JetStream remembers a Nats-Msg-Id for dedup, in milliseconds. */
export const dedupWindowMs = 120_000;

/** The largest NATS message, in bytes: a frame plus 64 KiB for its headers. Source: docs/protocol/limits.md. */
export const natsPayloadBytesMax = frameBytesMax + 65_536;

/** JetStream's discard policy for a `WhenFull` value. */
export function discardOf(whenFull: WhenFull): "new" | "old" {
  return whenFull === "refuse" ? "new" : "old";
}

/** The JetStream configuration of a room's stream, with JetStream's own field names. */
export interface RoomStreamConfig {
  readonly name: string;
  readonly subjects: readonly [string];
  readonly retention: "limits";
  readonly storage: "file";
  readonly discard: "new" | "old";
  readonly num_replicas: number;
  readonly max_bytes: number;
  readonly max_msg_size: number;
  readonly max_age: 0;
  readonly max_msgs: -1;
  readonly max_msgs_per_subject: -1;
  readonly max_consumers: -1;
  /** Nanoseconds. */
  readonly duplicate_window: number;
  readonly allow_direct: true;
  readonly allow_rollup_hdrs: false;
  readonly deny_delete: false;
  readonly deny_purge: true;
}

/**
 * The stream configuration of a persisted room; the only place that defines it.
 * Units: `bytesMax` in bytes, or -1 while the room is below its limit, because nats-server reserves the configured
 * size. Source: docs/protocol/history.md.
 */
export function roomStreamConfig(room: {
  readonly roomId: string;
  readonly subject: string;
  readonly replicas: number;
  readonly bytesMax: number;
  readonly whenFull: WhenFull;
}): RoomStreamConfig {
  return {
    name: streamName(room.roomId),
    subjects: [room.subject],
    retention: "limits",
    storage: "file",
    discard: discardOf(room.whenFull),
    num_replicas: room.replicas,
    max_bytes: room.bytesMax,
    max_msg_size: natsPayloadBytesMax,
    max_age: 0,
    max_msgs: -1,
    max_msgs_per_subject: -1,
    max_consumers: -1,
    duplicate_window: dedupWindowMs * 1_000_000,
    allow_direct: true,
    allow_rollup_hdrs: false,
    deny_delete: false,
    deny_purge: true,
  };
}
