/**
 * Finds the next message of several rooms for `wait`. A room that keeps its messages is read from the device's
 * position on, so that messages come in the order of its history, whatever happened to earlier waits. Live messages
 * only say that there is something to read; in a room that keeps nothing they are what is returned.
 */
import { type Bus, Message, type Messages, type Room } from "../../client/index.ts";
import { framesOf } from "../../client/rooms/history-pages.ts";
import { partsOf } from "../../client/rooms/room-parts.ts";
import { pause } from "../../client/transport/wait.ts";
import { hasCode } from "../../wire/errors.ts";
import { type Dropped, type Frame, isDropped } from "../../wire/frame.ts";
import { printNote } from "../print.ts";
import { keepsMessages } from "./stored-message.ts";
import type { WaitPlace, WaitRecord } from "./wait-record.ts";

/** Page size. */
const pageMax = 200;
/** How many rooms are read at once. */
const besideMax = 8;
/** How long a live message may take until it is stored, and how often the history is read for it, in milliseconds. */
const storing = { withinMs: 3_000, everyMs: 50 } as const;
/** The pause after a failed read, in milliseconds. */
const retryMs = 1_000;

/** A message to return. */
export interface Waited {
  readonly room: Room;
  readonly message: Message;
  /** Null in a room that keeps no messages. */
  readonly place: WaitPlace | null;
}

const keyOf = ({ from, id }: Pick<Frame, "from" | "id">): string => `${from}.${id}`;

/** The rooms of one wait. */
export class NextMessage {
  constructor(
    private readonly deps: {
      readonly bus: Bus;
      readonly record: WaitRecord;
      /** In the order in which they are asked. */
      readonly rooms: readonly Room[];
      /** Whether a room that was never waited for begins now, and not with its oldest message. */
      readonly startsNow: boolean;
      /** Called for a room that can no longer be read. It may throw, to end the wait. */
      readonly onEnd: (room: Room, error: unknown) => void;
    },
  ) {}

  /** The message that was returned last and not acknowledged; null if it was deleted since. */
  async again({ room: roomId, seq }: WaitPlace, signal: AbortSignal): Promise<Waited | null> {
    const room = await this.deps.bus.room(roomId, signal);
    const { messages, seqs } = await this.#page(room, seq - 1, 1, signal);
    const [frame] = framesOf(messages);
    if (frame === undefined || seqs[0] !== seq) return null;
    const message = await this.#opened(room, frame);
    return message && { room, message, place: { room: roomId, seq } };
  }

  /** The first message that is stored and not acknowledged, or null. Errors: those of GET history. */
  async stored(signal: AbortSignal): Promise<Waited | null> {
    const kept = this.deps.rooms.filter(keepsMessages);
    for (let at = 0; at < kept.length; at += besideMax) {
      const found = await Promise.all(kept.slice(at, at + besideMax).map((room) => this.#storedIn(room, signal)));
      const first = found.find((one) => one !== null);
      if (first !== undefined) return first;
    }
    return null;
  }

  /** Waits for the next message. Errors: the signal's reason. */
  async live(signal: AbortSignal): Promise<Waited> {
    const stop = new AbortController();
    const over = AbortSignal.any([signal, stop.signal]);
    const feeds = new Map(this.deps.rooms.map((room) => [room, room.messages({ from: "now", signal: over })]));
    try {
      const next = new Map([...feeds].map(([room, feed]) => [room, this.#nextOf(room, feed)]));
      await Promise.all([...feeds].map(([room, { ready }]) => ready.catch((error) => this.#ended(room, error, next))));
      // A message may have been stored before the subscription began.
      const found = await this.#patiently(() => this.stored(over), over);
      if (found !== null) return found;
      for (;;) {
        over.throwIfAborted();
        const { room, message, error } = await Promise.race(next.values());
        if (message === null) {
          over.throwIfAborted();
          this.#ended(room, error, next);
          continue;
        }
        const waited = await this.#waitedFor(room, message, over);
        if (waited !== null) return waited;
        const feed = feeds.get(room);
        if (feed !== undefined) next.set(room, this.#nextOf(room, feed));
      }
    } finally {
      stop.abort();
      await Promise.all([...feeds.values()].map((feed) => feed.return?.()));
    }
  }

  async #nextOf(room: Room, feed: Messages) {
    try {
      const { value, done } = await feed.next();
      return { room, message: done ? null : (value as Message), error: null };
    } catch (error) {
      return { room, message: null, error: error as unknown };
    }
  }

  #ended(room: Room, error: unknown, next: Map<Room, unknown>): void {
    if (!next.delete(room)) return;
    this.deps.onEnd(room, error);
    if (next.size === 0) throw error;
  }

  /** What a live message leads to: itself, or the first one of its room's history that is not acknowledged. */
  async #waitedFor(room: Room, message: Message, signal: AbortSignal): Promise<Waited | null> {
    if (!this.#isMeant(message)) return null;
    if (!keepsMessages(room)) return { room, message, place: null };
    const endMs = performance.now() + storing.withinMs;
    for (;;) {
      const found = await this.#patiently(() => this.#storedIn(room, signal), signal);
      if (found !== null || performance.now() > endMs) return found;
      await pause(storing.everyMs, signal);
    }
  }

  /** Repeats a read while the bus does not answer. */
  async #patiently<T>(read: () => Promise<T>, signal: AbortSignal): Promise<T> {
    for (;;) {
      try {
        return await read();
      } catch (error) {
        if (signal.aborted || !(hasCode(error, "unavailable") || hasCode(error, "timeout"))) throw error;
        await pause(retryMs, signal);
      }
    }
  }

  async #storedIn(room: Room, signal: AbortSignal): Promise<Waited | null> {
    const { record } = this.deps;
    for (let after = await this.#positionOf(room, signal); ; ) {
      const { messages, seqs, last_seq, more } = await this.#page(room, after, pageMax, signal);
      for (const [index, frame] of framesOf(messages).entries()) {
        const seq = seqs[index] ?? last_seq;
        const message = await this.#opened(room, frame);
        if (message !== null && this.#isMeant(message)) return { room, message, place: { room: room.id, seq } };
        record.pass(room.id, seq);
      }
      // A server that repeats its pages must not keep this command reading for ever.
      if (!more || last_seq <= after) return null;
      after = last_seq;
    }
  }

  /** Where the device is in a room's history. */
  async #positionOf({ id, subject }: Room, signal: AbortSignal): Promise<number> {
    const { bus, record, startsNow } = this.deps;
    const end = (await bus.control.history(id, { limit: 1 }, signal)).last_seq;
    const known = record.position(id);
    if (known === undefined) record.place(id, startsNow ? end : 0);
    else if (end < known) {
      // A server that was restored from a backup gives new messages the numbers of those that it lost.
      const since = new Date(record.savedMs).toISOString();
      const { seqs } = await bus.control.history(id, { limit: 1, since }, signal);
      record.place(id, (seqs[0] ?? end + 1) - 1);
      if (seqs[0] !== undefined)
        printNote(`note: the history of ${subject} became shorter: it was restored, or erased`);
    }
    return record.position(id) ?? 0;
  }

  #page({ id }: Room, after: number, limit: number, signal: AbortSignal) {
    return this.deps.bus.control.history(id, { limit, after }, signal);
  }

  /** Opens a frame of another peer; null if it is not valid. */
  async #opened(room: Room, frame: Frame | Dropped): Promise<Message | null> {
    if (isDropped(frame) || frame.from === this.deps.bus.identity.endpoint) return null;
    const received = await partsOf(room).receiver.open(frame, "history");
    return received === null ? null : new Message(received);
  }

  /** Whether a message is returned: not this peer's own, no acknowledgement, and none that was returned before. */
  #isMeant(message: Message): boolean {
    const isReceipt = message.kind === "receipt" || message.kind === "ack";
    const { bus, record } = this.deps;
    return message.from !== bus.identity.endpoint && !isReceipt && !record.hasReturned(keyOf(message));
  }
}
