import { SortedList } from "../../lib/sorted-list.ts";
import { byText } from "./last-word.ts";
import type { TimelineMessage } from "./timeline-item.ts";

/** What a timeline needs to know of its room: its policy, and its newest verified statement. */
export interface RoomFacts {
  /** Whether the room's policy requires signatures. It never changes. */
  readonly signs: boolean;
  /** Whether an endpoint is an owner now. */
  readonly isOwner: (endpoint: string) => boolean;
  /** Whether the room has a statement of this version whose sha256 begins with this hash. */
  readonly hasStatement: (statement: { readonly version: number; readonly hash: string }) => boolean;
}

/** How many messages of one sender may name a statement that does not exist (yet). */
const aheadMax = 64;

interface Said<M> {
  readonly valid: SortedList<M>;
  /** Those that name a statement which this reader does not have: a later one, or one that never was. */
  readonly ahead: Set<M>;
}

const versionOf = (message: TimelineMessage): number => message.header.statement?.version ?? 0;

const isKnown = ({ header }: TimelineMessage, facts: RoomFacts): boolean =>
  header.statement === undefined || facts.hasStatement(header.statement);

/** The order in which owners' words replace each other. */
function byVersion(one: TimelineMessage, other: TimelineMessage): number {
  return versionOf(one) - versionOf(other) || byText(one.id, other.id) || byText(one.from, other.from);
}

/**
 * What the owners of a room say about all of it: its title, or its pinned messages. The message of a present owner
 * counts that names the highest statement version, and of those the one with the greatest id. A version counts only if
 * the room has that statement, so that no owner gets ahead by naming a high number.
 * Source: docs/protocol/timeline.md.
 */
export class OwnersWord<M extends TimelineMessage> {
  readonly #said = new Map<string, Said<M>>();

  /** Adds a message, of an owner or of any other member, who may become one. */
  add(message: M, facts: RoomFacts): void {
    const said: Said<M> = this.#said.get(message.from) ?? { valid: new SortedList<M>(byVersion), ahead: new Set() };
    this.#said.set(message.from, said);
    if (isKnown(message, facts)) said.valid.add(message);
    else {
      said.ahead.add(message);
      const [oldest] = said.ahead;
      if (said.ahead.size > aheadMax && oldest !== undefined) said.ahead.delete(oldest);
    }
  }

  /** Removes a message. */
  remove(message: M): void {
    const said = this.#said.get(message.from);
    if (said?.ahead.delete(message) === false) said.valid.remove(message);
  }

  /** Checks again the messages that named an unknown statement: the room has new ones. */
  recheck(facts: RoomFacts): void {
    for (const { valid, ahead } of this.#said.values()) {
      for (const message of ahead) {
        if (!isKnown(message, facts)) continue;
        ahead.delete(message);
        valid.add(message);
      }
    }
  }

  /** The message that counts, or null if there is none. */
  current(facts: RoomFacts): M | null {
    let best: M | null = null;
    for (const [from, { valid }] of this.#said) {
      const { last } = valid;
      if (last === undefined || !facts.isOwner(from)) continue;
      if (best === null || byVersion(best, last) < 0) best = last;
    }
    return best;
  }
}
