import { byText, type LastWord } from "./last-word.ts";
import type { Deletion, TimelineItem, TimelineMessage } from "./timeline-item.ts";
import type { Deletions, Reactions } from "./timeline-marks.ts";

/** All that a timeline knows of one id: the messages with it, and what is said about them. */
export class Target<M extends TimelineMessage> {
  /** The first slot. Almost every id has one: two senders do not make the same id by chance. */
  first: Slot<M> | null = null;
  reactions: Reactions<M> | null = null;
  deletions: Deletions<M> | null = null;
  /** The messages that wait until a message with this id is known. */
  waiting: M[] | null = null;

  constructor(readonly id: string) {}

  /** The slot of a sender's message, or null. */
  find(from: string): Slot<M> | null {
    let slot = this.first;
    while (slot !== null && slot.from !== from) slot = slot.next;
    return slot;
  }

  /** The slot of a sender's message, which is made if there is none. */
  slotOf(from: string): Slot<M> {
    const known = this.find(from);
    if (known !== null) return known;
    this.first = new Slot<M>(this, from, this.first);
    return this.first;
  }

  /** The slot of the only message with this id, or null. */
  get only(): Slot<M> | null {
    let only: Slot<M> | null = null;
    for (let slot = this.first; slot !== null; slot = slot.next) {
      if (slot.message === null) continue;
      if (only !== null) return null;
      only = slot;
    }
    return only;
  }

  /** Whether a message with this id is known. */
  get isKnown(): boolean {
    let slot = this.first;
    while (slot !== null && slot.message === null) slot = slot.next;
    return slot !== null;
  }

  /** Whether nothing is known of this id any more. */
  get isEmpty(): boolean {
    return this.waiting === null && !this.#isUsed;
  }

  get #isUsed(): boolean {
    let slot = this.first;
    while (slot !== null && slot.message === null && (slot.children?.length ?? 0) === 0) slot = slot.next;
    return slot !== null;
  }
}

/** The place of one message in a timeline. It may be needed, by an edit, before the message is known. */
export class Slot<M extends TimelineMessage> {
  message: M | null = null;
  /** The edits of this message by its own sender, and of an edit those of that edit. */
  children: Slot<M>[] | null = null;
  /** The item that this message belongs to: itself, or for an edit the message at the root. Null if not known. */
  root: Slot<M> | null = null;
  /** The edits that count for this item. */
  edits: LastWord<M> | null = null;
  deletion: Deletion | null = null;
  /** Whether the timeline has an item for it. */
  isItem = false;
  /** The item as last built; null after a change. */
  item: TimelineItem<M> | null = null;
  /** The time in the id, in its order only. */
  readonly time: number;

  constructor(
    readonly target: Target<M>,
    readonly from: string,
    /** The same id, of another sender. */
    readonly next: Slot<M> | null,
  ) {
    this.time = sortableTime(target.id);
  }

  /**
   * The order of a timeline: by time. The ids of one millisecond have no order, so messages of one sender are then
   * ordered by their place in the chain.
   */
  static compare<M extends TimelineMessage>(one: Slot<M>, other: Slot<M>): number {
    const order = one.time - other.time || byText(one.from, other.from);
    return order || one.#place - other.#place || byText(one.target.id, other.target.id);
  }

  get #place(): number {
    return this.message?.header.chain?.n ?? 0;
  }
}

/** The time in a ULID as a number, only for its order: numbers are compared faster than texts. */
function sortableTime(id: string): number {
  let time = 0;
  for (let at = 0; at < 10; at++) {
    const code = id.charCodeAt(at);
    time = time * 36 + code - (code < 58 ? 48 : 55);
  }
  return time;
}

function byBytes(one: Uint8Array, other: Uint8Array): number {
  const length = Math.min(one.length, other.length);
  for (let at = 0; at < length; at++) {
    const difference = (one[at] ?? 0) - (other[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return one.length - other.length;
}

const headerText = ({ header: { chain, statement } }: TimelineMessage): string =>
  `${chain?.id} ${chain?.n} ${statement?.version} ${statement?.hash}`;

/**
 * Whether one of two messages with the same sender and id replaces the other. An honest sender never makes two; of two
 * by another one, every reader takes the same, whichever came first.
 */
export function replaces(message: TimelineMessage, known: TimelineMessage): boolean {
  if (message === known) return false;
  const order =
    Number(message.verified) - Number(known.verified) ||
    byText(message.kind, known.kind) ||
    byText(message.replyTo ?? "", known.replyTo ?? "") ||
    byText(headerText(message), headerText(known)) ||
    byBytes(message.data, known.data) ||
    byText(message.frameHash ?? "", known.frameHash ?? "");
  return order > 0;
}
