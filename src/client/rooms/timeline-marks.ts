/** What members say about the messages with one id: reactions and deletions. They may arrive before the message. */
import { SortedList } from "../../lib/sorted-list.ts";
import { erasedHashIn } from "../../wire/bodies.ts";
import { byText, LastWord } from "./last-word.ts";
import type { RoomFacts } from "./owners-word.ts";
import type { Deletion, Reaction, TimelineMessage } from "./timeline-item.ts";
import { emojiIn } from "./timeline-rules.ts";

/** Whether something is added or taken back. */
export type Doing = "add" | "remove";

type ById = { readonly id: string; readonly from: string };

const byIdAndSender = (one: ById, other: ById): number => byText(one.id, other.id) || byText(one.from, other.from);

/** What one sender says about one emoji. The last word may take the reaction back. */
class Reacting<M extends TimelineMessage> {
  readonly word = new LastWord<M>();

  constructor(
    readonly emoji: string,
    readonly from: string,
  ) {}

  /** The message that gives the reaction, or null. */
  get given(): M | null {
    const { last } = this.word;
    return last?.kind === "react" ? last : null;
  }
}

/** The reactions to one id: one for each sender and emoji. */
export class Reactions<M extends TimelineMessage> {
  /** The only one, as long as there is no other. Most messages get few. */
  #only: Reacting<M> | null = null;
  #all: Map<string, Reacting<M>> | null = null;

  /** Adds or removes a `react` or `unreact`. Returns whether what is shown changed. */
  change(message: M, does: Doing): boolean {
    const emoji = emojiIn(message.data);
    if (emoji === null) return false;
    const one = this.#of(emoji, message.from);
    const before = one.given;
    one.word[does](message);
    if (one.word.last === null) this.#forget(one);
    return one.given !== before;
  }

  /** The reactions that were not taken back, by the time of the first one. */
  list(): readonly Reaction[] {
    if (this.#all === null) {
      const only = this.#only;
      return only === null || only.given === null ? [] : [{ emoji: only.emoji, from: [only.from] }];
    }
    const given: { readonly emoji: string; readonly last: M }[] = [];
    for (const { emoji, given: last } of this.#all.values()) if (last !== null) given.push({ emoji, last });
    given.sort((one, other) => byIdAndSender(one.last, other.last));
    const byEmoji = new Map<string, string[]>();
    for (const { emoji, last } of given) {
      const from = byEmoji.get(emoji);
      if (from === undefined) byEmoji.set(emoji, [last.from]);
      else from.push(last.from);
    }
    return [...byEmoji].map(([emoji, from]) => ({ emoji, from }));
  }

  #of(emoji: string, from: string): Reacting<M> {
    const only = this.#only;
    if (only?.emoji === emoji && only.from === from) return only;
    const known = this.#all?.get(keyOf({ emoji, from }));
    if (known !== undefined) return known;
    const added = new Reacting<M>(emoji, from);
    if (this.#all === null && only === null) this.#only = added;
    else {
      this.#all ??= new Map(only === null ? [] : [[keyOf(only), only]]);
      this.#all.set(keyOf(added), added);
      this.#only = null;
    }
    return added;
  }

  #forget(one: Reacting<M>): void {
    if (this.#only === one) this.#only = null;
    this.#all?.delete(keyOf(one));
  }
}

const keyOf = ({ emoji, from }: { readonly emoji: string; readonly from: string }): string => `${emoji} ${from}`;

/** The deletions of one id, by any sender. */
export class Deletions<M extends TimelineMessage> {
  readonly #bySender = new Map<string, SortedList<M>>();

  /** Adds or removes a `delete`. */
  change(message: M, does: Doing): void {
    if (erasedHashIn(message.data) === null) return;
    const own = this.#bySender.get(message.from) ?? new SortedList<M>(byIdAndSender);
    own[does](message);
    if (own.size === 0) this.#bySender.delete(message.from);
    else this.#bySender.set(message.from, own);
  }

  /** Who deleted a message: its own sender, or else of the present owners' deletions the one with the lowest id. */
  of(target: M, { signs, isOwner }: RoomFacts): Deletion | null {
    for (const one of this.#bySender.get(target.from) ?? []) {
      if (!signs || (one.verified && target.verified)) return { by: target.from, byOwner: false };
    }
    let first: M | null = null;
    for (const [from, list] of this.#bySender) {
      if (!isOwner(from)) continue;
      for (const one of list) {
        if (first !== null && byIdAndSender(first, one) < 0) break;
        // Without a signature, any member could have written an owner's name.
        if (one.verified && isFor(one, target)) first = one;
      }
    }
    return first === null ? null : { by: first.from, byOwner: true };
  }
}

/** Whether a deletion by an owner is for this message: of several with one id, it names one by its hash. */
function isFor(deletion: TimelineMessage, { frameHash }: TimelineMessage): boolean {
  const hash = erasedHashIn(deletion.data);
  return hash === "" || frameHash == null || hash === frameHash;
}
