/** What happened in a run, as those saw it who asked. Times are milliseconds of one monotonic clock. */

/** How a test asked whether somebody who is out still gets in. */
export type Way = "http" | "login" | "publish";

/** One thing that happened. */
export type Happening =
  /** A frame was acknowledged: it is kept. */
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
  /** A removal was acknowledged: from a room, or, as a revocation, from the bus. */
  | { readonly kind: "removed"; readonly at: number; readonly who: string; readonly room: string | null }
  /** Somebody who was removed asked. `admitted`: got what only others get; `unanswered`: nobody said anything. */
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
  /** Something was broken, and is whole again. */
  | {
      readonly kind: "fault";
      readonly at: number;
      readonly began: number;
      readonly mended: number;
      readonly what: string;
      readonly node: number;
    };

/** What is there at the end. */
export interface Remains {
  /** What each node reads back, by room: the texts of all frames. */
  readonly frames: readonly ReadonlyMap<string, readonly string[]>[];
  /** The keys of all users, by handle. */
  readonly users: ReadonlyMap<string, readonly string[]>;
  /** The rooms that live, by subject. */
  readonly rooms: ReadonlyMap<string, readonly string[]>;
}

/** A wall that nobody can move: milliseconds since the process began. */
export const clockMs = (): number => performance.now();
