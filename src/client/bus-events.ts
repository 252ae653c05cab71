/** What a bus reports besides messages. */
import type { UnibusError } from "../wire/errors.ts";
import type { DropReason } from "../wire/frame.ts";
import type { Invitation } from "./acceptances.ts";
import type { BusStatus } from "./status.ts";
import type { Lost } from "./tail.ts";

/** Events of a bus, by name, with what a listener is given. */
export type BusEvents = {
  /** The connection broke, is there again, or was closed: what `bus.status` has become. An outage is one event. */
  readonly status: BusStatus;
  /** The bus, or somebody on it, did what an honest one does not. */
  readonly suspicious: {
    readonly roomId: string | null;
    readonly what: DropReason | "room_forked" | "room_stale" | "owner_conflict" | "clock_moved";
    /** The endpoint that signed what was dropped, where its signature holds; else nobody knows who sent it. */
    readonly from?: string | undefined;
    /** The endpoint that it names as its sender, which anybody could have written. */
    readonly claims?: string | undefined;
    readonly error?: UnibusError;
  };
  /** Members left a room, and what is sent is sealed with a key that they have, until an owner signs them out. */
  readonly rekeyPending: { readonly roomId: string; readonly subject: string; readonly left: readonly string[] };
  /** This peer came into a room, or is in it no more. */
  readonly rooms: { readonly roomId: string | null; readonly kind: string };
  /** Messages of a room that is not kept were missed, or came faster than they were read. */
  readonly lost: { readonly roomId: string; readonly why: Lost };
  /** What goes wrong and mends itself, and what a listener threw. */
  readonly trouble: unknown;
  readonly warning: string;
  /** An owner added this peer to a room, which it may accept. */
  readonly invited: Invitation;
};
