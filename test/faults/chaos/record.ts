/** The record of a run, as its clients observed it. Times are milliseconds of one monotonic clock. */

/** How a test checked whether a removed user still gets in. */
export type Way = "http" | "login" | "publish";

/** One recorded event. */
export type Happening =
  /** A frame was acknowledged as stored. */
  | { readonly kind: "frame"; readonly at: number; readonly room: string; readonly text: string; readonly seq: number }
  /** A change of a room was acknowledged. */
  | { readonly kind: "change"; readonly at: number; readonly room: string; readonly version: number }
  /** A room was read. */
  | {
      readonly kind: "read";
      readonly at: number;
      readonly began: number;
      readonly node: number;
      readonly room: string;
      readonly version: number;
      readonly epoch: number;
    }
  /** A removal was acknowledged: from a room, or, for a revocation, from the bus. */
  | { readonly kind: "removed"; readonly at: number; readonly who: string; readonly room: string | null }
  /** A removed user was checked. `admitted`: got what only permitted users get; `unanswered`: got no answer. */
  | {
      readonly kind: "check";
      readonly at: number;
      readonly began: number;
      readonly node: number;
      readonly who: string;
      readonly room: string | null;
      readonly way: Way;
      readonly outcome: "denied" | "unanswered" | "admitted";
    }
  /** An invite was acknowledged as redeemed. */
  | { readonly kind: "redeemed"; readonly at: number; readonly handle: string; readonly who: string }
  /** A subject was acknowledged as claimed. */
  | { readonly kind: "claimed"; readonly at: number; readonly subject: string; readonly room: string }
  /** A fault was injected and repaired. */
  | {
      readonly kind: "fault";
      readonly at: number;
      readonly began: number;
      readonly repaired: number;
      readonly what: string;
      readonly node: number;
    };

/** The state at the end of a run. */
export interface Remains {
  /** What each node returns, by room: the texts of all frames. */
  readonly frames: readonly ReadonlyMap<string, readonly string[]>[];
  /** The keys of all users, by handle. */
  readonly users: ReadonlyMap<string, readonly string[]>;
  /** The live rooms, by subject. */
  readonly rooms: ReadonlyMap<string, readonly string[]>;
}

/** A clock that no fault shifts: milliseconds since the process began. */
export const clockMs = (): number => performance.now();
