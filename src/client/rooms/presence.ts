import type { Unlisten } from "../events.ts";
import type { Message } from "./message.ts";
import type { MemberPresence } from "./presence-state.ts";
import type { RoomSignals } from "./room-signals.ts";

/** The events of `room.presence`. */
export type PresenceEvents = {
  /** A member came, went, began or stopped typing, or read on. */
  readonly change: MemberPresence;
};

/** The members that are here or typing, and how far they have read, as far as they let others know. */
export class Presence {
  readonly #signals: RoomSignals;

  constructor(signals: RoomSignals) {
    this.#signals = signals;
  }

  /** The members of whom something is known. This peer is not among them. */
  get members(): readonly MemberPresence[] {
    return this.#signals.members;
  }

  /** What is known of a member, by endpoint. */
  of(endpoint: string): MemberPresence {
    return this.#signals.of(endpoint);
  }

  /** Adds an event listener until the returned function is called. Signals are received until then. */
  on<K extends keyof PresenceEvents>(name: K, listener: (detail: PresenceEvents[K]) => void): Unlisten {
    return this.#signals.on(name, listener);
  }

  /**
   * Lets the other members know that a person has the room open, until the returned function is called. Do not call it
   * for a program that only reads.
   */
  open(): () => void {
    return this.#signals.open();
  }

  /** Shows this peer as idle, or as present again, while it has the room open. */
  setIdle(isIdle: boolean): void {
    this.#signals.setIdle(isIdle);
  }

  /** A person is typing: call it at each key. `false`: stopped without sending. Sending a message stops it, too. */
  typing(isTyping = true): void {
    this.#signals.typing(isTyping);
  }

  /**
   * Lets the others know that a person has read a message, and all before it. By default only in rooms of two; see the
   * option `readMarks` of `connect`.
   */
  read(message: Pick<Message, "id">): void {
    this.#signals.read(message);
  }
}
