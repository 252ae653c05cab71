/**
 * What the signals of a room say of its members: who is typing, who is here, how far each has read. Pure: times come
 * from the caller. All of it is a hint that expires. Source: docs/protocol/signals.md.
 */
import type { Signal, SignalKind } from "../../wire/signal.ts";

/** How long a signal holds, in milliseconds. Source: docs/protocol/signals.md. */
export const signalHoldsMs = { typing: 8_000, present: 150_000 } as const;

/**
 * What signals say of one member. A hint: signals are not signed. The bus lets each member send only its own; a member
 * and the bus together could pose as this one, and without encryption the bus alone could.
 */
export interface MemberPresence {
  /** The member's endpoint. */
  readonly endpoint: string;
  /** `present`: has the room open; `idle`: open, but not in use. Null: not known to be here. */
  readonly state: "present" | "idle" | null;
  readonly isTyping: boolean;
  /** The id of the last message that the member has read, or null. */
  readonly readUpTo: string | null;
}

/** A place in the order of one sender's signals. */
type Order = readonly [timeMs: number, counter: number];

interface Known {
  state: "present" | "idle" | null;
  stateUntilMs: number;
  typingUntilMs: number;
  readUpTo: string | null;
  /** The newest signal about presence, and the newest about typing. */
  presenceAt: Order;
  typingAt: Order;
}

const isNewer = ([timeMs, counter]: Order, [otherMs, other]: Order): boolean =>
  timeMs > otherMs || (timeMs === otherMs && counter > other);

const isAboutTyping = (kind: SignalKind): boolean => kind === "typing" || kind === "stopped";

/** The members of one room, as their signals describe them. */
export class PresenceState {
  readonly #members = new Map<string, Known>();

  /** What is known of a member. */
  of(endpoint: string): MemberPresence {
    const { state = null, typingUntilMs = 0, readUpTo = null } = this.#members.get(endpoint) ?? {};
    return { endpoint, state, isTyping: typingUntilMs > 0, readUpTo };
  }

  /** The members of whom something is known. */
  list(): MemberPresence[] {
    return [...this.#members.keys()].map((endpoint) => this.of(endpoint));
  }

  /** Applies a signal. Returns whether anything changed. An older one than the last of its sort changes nothing. */
  apply(endpoint: string, { kind, timeMs, counter, messageId }: Signal, nowMs: number): boolean {
    const known = this.#members.get(endpoint) ?? fresh();
    this.#members.set(endpoint, known);
    const before = this.of(endpoint);
    const order: Order = [timeMs, counter];
    if (kind === "read") {
      if (messageId !== null && messageId > (known.readUpTo ?? "")) known.readUpTo = messageId;
    } else if (isAboutTyping(kind)) {
      if (!isNewer(order, known.typingAt)) return false;
      known.typingAt = order;
      known.typingUntilMs = kind === "typing" ? nowMs + signalHoldsMs.typing : 0;
    } else {
      if (!isNewer(order, known.presenceAt)) return false;
      known.presenceAt = order;
      known.state = kind === "bye" ? null : kind === "idle" ? "idle" : "present";
      known.stateUntilMs = nowMs + signalHoldsMs.present;
      if (kind === "bye") known.typingUntilMs = 0;
    }
    return !isSame(before, this.of(endpoint));
  }

  /** Ends what has not been renewed. Returns the members that changed, and when the next may change. */
  expire(nowMs: number): { readonly changed: readonly string[]; readonly nextMs: number } {
    const changed: string[] = [];
    let nextMs = Number.POSITIVE_INFINITY;
    for (const [endpoint, known] of this.#members) {
      const isTypingOver = known.typingUntilMs > 0 && known.typingUntilMs <= nowMs;
      const isStateOver = known.state !== null && known.stateUntilMs <= nowMs;
      if (isTypingOver) known.typingUntilMs = 0;
      if (isStateOver) known.state = null;
      if (isTypingOver || isStateOver) changed.push(endpoint);
      if (known.typingUntilMs > 0) nextMs = Math.min(nextMs, known.typingUntilMs);
      if (known.state !== null) nextMs = Math.min(nextMs, known.stateUntilMs);
    }
    return { changed, nextMs };
  }

  /** Forgets members, for example those that are out of the room. Returns those of whom something was known. */
  forget(isForgotten: (endpoint: string) => boolean): string[] {
    const forgotten = [...this.#members.keys()].filter(isForgotten);
    for (const endpoint of forgotten) this.#members.delete(endpoint);
    return forgotten;
  }
}

const fresh = (): Known => ({
  ...{ state: null, stateUntilMs: 0, typingUntilMs: 0, readUpTo: null },
  ...{ presenceAt: [-1, -1], typingAt: [-1, -1] },
});

const isSame = (one: MemberPresence, other: MemberPresence): boolean =>
  one.state === other.state && one.isTyping === other.isTyping && one.readUpTo === other.readUpTo;
