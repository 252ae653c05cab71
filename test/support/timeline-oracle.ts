/** What a timeline must show, worked out the slow way: from all messages at once, rule by rule. */
import type { RoomFacts } from "../../src/client/rooms/owners-word.ts";
import type { Deletion, TimelineMessage } from "../../src/client/rooms/timeline-item.ts";
import { emojiIn, isItemKind, titleOf } from "../../src/client/rooms/timeline-rules.ts";
import { replaces } from "../../src/client/rooms/timeline-slot.ts";
import { erasedHashIn, pinsIn } from "../../src/wire/bodies.ts";

const compare = (one: string, other: string): number => (one < other ? -1 : Number(one > other));
const keyOf = ({ from, id }: TimelineMessage): string => `${from}.${id}`;
const byId = (one: TimelineMessage, other: TimelineMessage): number =>
  compare(one.id, other.id) || compare(one.from, other.from);

/** The order of the items: by time, then by sender, in a chain by number. */
const byTime = (one: TimelineMessage, other: TimelineMessage): number =>
  compare(one.id.slice(0, 10), other.id.slice(0, 10)) ||
  compare(one.from, other.from) ||
  (one.header.chain?.n ?? 0) - (other.header.chain?.n ?? 0) ||
  compare(one.id, other.id);

/** In each chain the last by number; of these the last by id. */
function lastWord(messages: readonly TimelineMessage[]): TimelineMessage | null {
  const lasts = new Map<string, TimelineMessage>();
  for (const one of messages) {
    const chain = one.header.chain?.id ?? "";
    const last = lasts.get(chain);
    const order = (one.header.chain?.n ?? 0) - (last?.header.chain?.n ?? 0) || compare(one.id, last?.id ?? "");
    if (last === undefined || order > 0) lasts.set(chain, one);
  }
  return [...lasts.values()].sort(byId).at(-1) ?? null;
}

/** The messages that count, one for each sender and id, and who deleted them. */
class Room {
  readonly #chosen = new Map<string, TimelineMessage>();

  constructor(
    messages: readonly TimelineMessage[],
    readonly facts: RoomFacts,
  ) {
    for (const one of messages) {
      const known = this.#chosen.get(keyOf(one));
      if (known === undefined || replaces(one, known)) this.#chosen.set(keyOf(one), one);
    }
  }

  get all(): TimelineMessage[] {
    return [...this.#chosen.values()];
  }

  of(...kinds: readonly string[]): TimelineMessage[] {
    return this.all.filter((one) => kinds.includes(one.kind) && this.deletionOf(one) === null);
  }

  counts(...messages: readonly TimelineMessage[]): boolean {
    return !this.facts.signs || messages.every(({ verified }) => verified);
  }

  deletionOf(target: TimelineMessage): Deletion | null {
    if (target.kind === "delete") return null;
    const all = this.all.filter(({ kind, replyTo, data }) => {
      return kind === "delete" && replyTo === target.id && erasedHashIn(data) !== null;
    });
    if (all.some((one) => one.from === target.from && this.counts(one, target)))
      return { by: target.from, byOwner: false };
    const [owner] = all.filter(({ from, verified }) => verified && this.facts.isOwner(from)).sort(byId);
    return owner === undefined ? null : { by: owner.from, byOwner: true };
  }

  /** The item at the root of an edit. */
  rootOf(edit: TimelineMessage): TimelineMessage | null {
    const passed = new Set<TimelineMessage>();
    let one: TimelineMessage | undefined = edit;
    while (one?.kind === "edit" && !passed.has(one)) {
      passed.add(one);
      one = this.#chosen.get(`${edit.from}.${one.replyTo}`);
    }
    return one !== undefined && isItemKind(one.kind) ? one : null;
  }

  reactionsTo(target: TimelineMessage) {
    if (this.all.filter(({ id }) => id === target.id).length > 1) return [];
    const about = this.of("react", "unreact").filter((one) => {
      return one.replyTo === target.id && emojiIn(one.data) !== null && this.counts(one);
    });
    const emojis = [...new Set(about.map(({ data }) => emojiIn(data) ?? ""))];
    const given = emojis.map((emoji) => {
      const own = about.filter(({ data }) => emojiIn(data) === emoji);
      const senders = [...new Set(own.map(({ from }) => from))];
      const lasts = senders.map((from) => lastWord(own.filter((one) => one.from === from)));
      return {
        emoji,
        lasts: lasts.filter((one) => one?.kind === "react").sort((a, b) => byId(a as never, b as never)),
      };
    });
    return given
      .filter(({ lasts }) => lasts.length > 0)
      .sort((one, other) => byId(one.lasts[0] as never, other.lasts[0] as never) || compare(one.emoji, other.emoji))
      .map(({ emoji, lasts }) => ({ emoji, from: lasts.map((one) => one?.from ?? "") }));
  }

  /** The last message of a present owner: by statement version, then by id. */
  decided(kind: string, isValid: (data: Uint8Array) => boolean): TimelineMessage | null {
    const version = ({ header }: TimelineMessage) => header.statement?.version ?? 0;
    const said = this.of(kind).filter(({ from, header: { statement }, data, verified }) => {
      const isKnown = statement === undefined || this.facts.hasStatement(statement);
      return isValid(data) && isKnown && this.facts.isOwner(from) && (verified || !this.facts.signs);
    });
    return said.sort((one, other) => version(one) - version(other) || byId(one, other)).at(-1) ?? null;
  }
}

/** What a timeline of these messages must show, in the form of `shownBy`. */
export function expectedOf(messages: readonly TimelineMessage[], facts: RoomFacts): unknown {
  const room = new Room(messages, facts);
  const edits = room.of("edit");
  const items = room.all.filter(({ kind }) => isItemKind(kind)).sort(byTime);
  const title = room.decided("title", (data) => titleOf(data) !== null);
  const text = title === null ? null : titleOf(title.data);
  const pin = room.decided("pin", (data) => pinsIn(data) !== null);
  const receipts = new Map<string, string>();
  for (const { from, replyTo } of room.of("receipt").filter((one) => room.counts(one))) {
    if (replyTo !== null && replyTo > (receipts.get(from) ?? "")) receipts.set(from, replyTo);
  }
  return {
    items: items.map((item) => {
      const own = edits.filter((one) => room.rootOf(one) === item && room.counts(one, item));
      const deletion = room.deletionOf(item);
      const edit = deletion === null ? lastWord(own) : null;
      const isUnsigned = !item.verified || lastWord(own)?.verified === false;
      return {
        ...{ key: keyOf(item), kind: item.kind, edit: edit?.id ?? null, deletion, isUnsigned, has: deletion === null },
        text: deletion === null ? new TextDecoder().decode((edit ?? item).data) : "",
        reactions: deletion === null ? room.reactionsTo(item) : [],
      };
    }),
    title: title === null ? null : { text, by: title.from, isUnsigned: !title.verified },
    pins: pin === null ? [] : pinsIn(pin.data),
    receipts: [...receipts].sort(),
  };
}
