/** The events that a bus emits besides messages. */
import type { UnibusError } from "../wire/errors.ts";
import type { DropReason } from "../wire/frame.ts";
import type { Invitation } from "./rooms/acceptances.ts";
import type { Lost } from "./rooms/room-subscription.ts";
import type { BusStatus } from "./status.ts";

/** Events of a bus, by name, with the type of their detail. */
export type BusEvents = {
  /** The connection broke, was restored, or was closed. The detail is the new `bus.status`. One outage is one event. */
  readonly status: BusStatus;
  /** The server, or a user on it, behaved in a way that an honest one would not. */
  readonly suspicious: {
    readonly roomId: string | null;
    readonly what: DropReason | "room_forked" | "room_stale" | "owner_conflict" | "clock_moved";
    /** The endpoint that signed the dropped frame, if its signature is valid. Otherwise the sender is unknown. */
    readonly from?: string | undefined;
    /** The sender that the frame claims. Unauthenticated: anyone could have written it. */
    readonly claims?: string | undefined;
    readonly error?: UnibusError;
  };
  /**
   * Members left a room, but messages are sealed with a key they hold until an owner signs their removal and rekeys.
   */
  readonly rekeyPending: { readonly roomId: string; readonly subject: string; readonly left: readonly string[] };
  /**
   * The server sent a notice: this peer, or one of its rooms, may have changed. It is a hint that nothing verifies.
   * `kind` is one of those in docs/protocol/notices.md; a later server may send others. `roomId` is null if the notice
   * names no room.
   */
  readonly rooms: { readonly roomId: string | null; readonly kind: string };
  /** Messages of a room without history were missed, or arrived faster than they were read. */
  readonly lost: { readonly roomId: string; readonly why: Lost };
  /** Errors from which the client recovers by itself, and errors that a listener threw. */
  readonly trouble: unknown;
  readonly warning: string;
  /** An owner added this peer to a room, which it may accept. */
  readonly invited: Invitation;
};
