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

/** The reactions to one id: one for each sender and emoji. */
export class Reactions<M extends TimelineMessage> {
  /** The last word of each sender about an emoji, which may take the reaction back. */
  readonly #words = new Map<string, { readonly emoji: string; readonly word: LastWord<M> }>();

  /** Adds or removes a `react` or `unreact`. Returns whether what is shown changed. */
  change(message: M, does: Doing): boolean {
    const emoji = emojiIn(message.data);
    if (emoji === null) return false;
    const key = `${emoji} ${message.from}`;
    const { word } = this.#words.get(key) ?? this.#add(key, emoji);
    const before = word.last;
    word[does](message);
    const after = word.last;
    if (after === null) this.#words.delete(key);
    return after !== before && (before?.kind === "react" || after?.kind === "react");
  }

  /** The reactions that were not taken back, by the time of the first one. */
  list(): readonly Reaction[] {
    const given: { readonly emoji: string; readonly last: M }[] = [];
    for (const { emoji, word } of this.#words.values()) {
      const { last } = word;
      if (last?.kind === "react") given.push({ emoji, last });
    }
    given.sort((one, other) => byIdAndSender(one.last, other.last));
    const byEmoji = new Map<string, string[]>();
    for (const { emoji, last } of given) {
      const from = byEmoji.get(emoji);
      if (from === undefined) byEmoji.set(emoji, [last.from]);
      else from.push(last.from);
    }
    return [...byEmoji].map(([emoji, from]) => ({ emoji, from }));
  }

  #add(key: string, emoji: string): { readonly emoji: string; readonly word: LastWord<M> } {
    const added = { emoji, word: new LastWord<M>() };
    this.#words.set(key, added);
    return added;
  }
}

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
