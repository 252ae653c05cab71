import type { WhenFull } from "../wire/room-stream.ts";
import { token } from "./plugin.ts";

/** What a stream needs to know of its room. */
export interface StreamRoom {
  readonly roomId: string;
  readonly subject: string;
}

/** What a room may hold, and what happens to a publish beyond it. */
export interface Capacity {
  /** Bytes, with headers and JetStream's own. */
  readonly bytesMax: number;
  readonly whenFull: WhenFull;
}

/** Where a durable delivers. */
export interface Durable {
  readonly stream: string;
  readonly consumer: string;
  readonly deliver: string;
}

/** A run of frames out of a room's stream. */
export interface FrameRun {
  /** As published, oldest first. */
  readonly frames: readonly Uint8Array[];
  /** Sequences of the first and the last of them; 0 where there is none. */
  readonly firstSeq: number;
  readonly lastSeq: number;
  /** Whether older frames are left. */
  readonly more: boolean;
}

/** Owns the JetStream stream of each persisted room: nobody else makes, changes or removes one. Source: spec 8. */
export interface RoomStreams {
  /**
   * Makes the stream, or fixes it, or finds it right and changes nothing. The stream of a deleted room that still holds
   * the subject is removed first.
   * Errors: conflict when the subject belongs to another room's stream; gone when the room was deleted, also while this
   * ran: then no stream is left. unavailable.
   */
  ensure(room: StreamRoom): Promise<void>;
  /**
   * The last `limit` frames before sequence `before`.
   * Shape: at most 8 MiB of frames, the newest kept; at least one where there is one. Moves no reader's position.
   * Units: `limit` in frames, 1..1000; 5 s in all.
   * Errors: those of `ensure`. A deleted sequence is skipped, nothing else is.
   */
  last(room: StreamRoom, page: { readonly limit: number; readonly before: number | null }): Promise<FrameRun>;
  /**
   * Makes the durable consumer of a member's device, or finds it there. What it delivers begins at the last ack; where
   * `isNew`, with the first message, even if an earlier durable of the same name is left. Null, and there is none, when
   * the device was removed, or its member left, while this ran.
   * Errors: unavailable.
   */
  bind(room: StreamRoom, endpoint: string, device: string, isNew: boolean): Promise<Durable | null>;
  /** Removes the consumer of a device unless its member has that device (again). Errors: unavailable. */
  unbind(room: StreamRoom, endpoint: string, device: string): Promise<void>;
  /**
   * Brings the durables of a room in line with its members: now, and again until it is done. Call it after members or
   * devices went.
   */
  settle(room: StreamRoom): void;
  /**
   * Gives every stream that has passed a size its limit, and brings earlier limits in line. Before that a stream has
   * none, because nats-server reserves what it is given.
   * Errors: unavailable.
   */
  enforce(capacity: Capacity): Promise<void>;
  /** Removes the stream with all its consumers. Idempotent. Errors: unavailable. */
  remove(roomId: string): Promise<void>;
}

/** The streams of persisted rooms. */
export const RoomStreams = token<RoomStreams>("room-streams");
