import type { WhenFull } from "../wire/room-stream.ts";
import { token } from "./plugin.ts";

/** The room facts that a stream depends on. */
export interface StreamRoom {
  readonly roomId: string;
  readonly subject: string;
}

/** A room's byte limit, and what happens to a publish beyond it. */
export interface Capacity {
  /** Bytes, including headers and JetStream's overhead. */
  readonly bytesMax: number;
  readonly whenFull: WhenFull;
}

/** The names of a durable: its stream, its consumer, and the subject that it delivers to. */
export interface Durable {
  readonly stream: string;
  readonly consumer: string;
  readonly deliver: string;
}

/** A run of consecutive frames from a room's stream. */
export interface FrameRun {
  /** The frames as published, oldest first. */
  readonly frames: readonly Uint8Array[];
  /** The sequence of each frame. */
  readonly seqs: readonly number[];
  /** The sequences of the first and the last frame; 0 if there are none. */
  readonly firstSeq: number;
  readonly lastSeq: number;
  /** Whether there are more frames in the direction of the read: older ones for `last`, newer ones for `next`. */
  readonly more: boolean;
}

/** The size of a room's stream. */
export interface StreamSize {
  readonly messages: number;
  readonly bytes: number;
}

/** Where a read forwards begins: after a sequence, or at a time in milliseconds since the epoch. */
export type HistoryStart = { readonly after: number } | { readonly since: number };

/** One stored message of a room. */
export interface StoredFrame {
  /** As published: whatever a member sent to the subject, perhaps not a frame at all. */
  readonly frame: Uint8Array;
  /** False in a room of an earlier version, whose messages can only be removed with the room. */
  readonly isErasable: boolean;
}

/** What members see of the storage of a room. */
export interface StorageFacts {
  /** The stream that acknowledges messages. */
  readonly stream: string;
  /** Whether the room refuses messages because it is full, as of the last call of `enforce`. */
  readonly full: boolean;
}

/**
 * Owns the JetStream stream of each persisted room: no other code creates, changes or removes one.
 * Source: docs/protocol/history.md.
 */
export interface RoomStreams {
  /**
   * Creates the stream or repairs its configuration; has no effect if it is correct. If the stream of a deleted room
   * still holds the subject, removes that stream first.
   * Errors: conflict if the subject belongs to another room's stream; gone if the room was deleted, even during this
   * call (no stream is left then); unavailable.
   */
  ensure(room: StreamRoom): Promise<void>;
  /**
   * Reads the last `limit` frames before sequence `before`.
   * Shape: at most 8 MiB of frames, keeping the newest, but at least one frame if there is any. Does not move a
   * reader's position.
   * Units: `limit` in frames, 1..1000. Timeout: 5 s in all.
   * Errors: those of `ensure`. Erased messages are skipped, nothing else is.
   */
  last(room: StreamRoom, page: { readonly limit: number; readonly before: number | null }): Promise<FrameRun>;
  /** Reads the first `limit` frames from a start on, like `last`, but keeping the oldest within 8 MiB. */
  next(room: StreamRoom, page: { readonly limit: number; readonly from: HistoryStart }): Promise<FrameRun>;
  /**
   * Reads the message of a sequence, from the stream's leader. Null if there is none, if it was erased, or if it is not
   * a message of this room. Errors: those of `ensure`.
   */
  stored(room: StreamRoom, seq: number): Promise<StoredFrame | null>;
  /**
   * Overwrites a message on disk and removes it. The caller has read the message with `stored`, and it is erasable.
   * Returns false if it was gone already. Errors: unavailable, and then the message may be gone or not.
   */
  erase(room: StreamRoom, seq: number): Promise<boolean>;
  /** What members see of a room's storage. Reads nothing. */
  facts(roomId: string): StorageFacts;
  /**
   * Creates the durable consumer of a member's device, or returns the existing one. Delivery starts after the last ack;
   * with `isNew` it starts at the first message, even if an earlier durable of the same name is left. Returns null, and
   * leaves no consumer, if the device was removed or its member left during the call.
   * Errors: unavailable.
   */
  bind(room: StreamRoom, endpoint: string, device: string, isNew: boolean): Promise<Durable | null>;
  /** Removes the consumer of a device, unless its member has the device again. Errors: unavailable. */
  unbind(room: StreamRoom, endpoint: string, device: string): Promise<void>;
  /**
   * Reconciles the durables of a room with its members, now, with retries until it succeeds. Call it after members or
   * devices were removed.
   */
  settle(room: StreamRoom): void;
  /**
   * Sets the byte limit on every stream that has grown past it, and updates limits that were set earlier. A smaller
   * stream has no limit, because nats-server reserves the configured size.
   * Errors: unavailable.
   */
  enforce(capacity: Capacity): Promise<void>;
  /** The size of a room's stream, including headers and JetStream's overhead; null without one. Errors: unavailable. */
  sizeOf(roomId: string): Promise<StreamSize | null>;
  /** Removes the stream with all its consumers. Idempotent. Errors: unavailable. */
  remove(roomId: string): Promise<void>;
}

/** The token of the room stream service. */
export const RoomStreams = token<RoomStreams>("room-streams");
