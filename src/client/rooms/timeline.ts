/**
 * The one reducer: messages of a room in, timeline out. Pure: no clock, no network.
 *
 * Every message has a `Slot`. A message that is shown is an item in `#items`, sorted by id. All other messages change
 * an item or the room. They are linked to their `Target`, which may have no message yet, so the result depends on the
 * set of messages and not on their order of arrival. An edit belongs to the message at the root of its chain of edits.
 * A message that is deleted, or replaced by another with its sender and id, is taken out the same way as it was put in.
 * Used by `LiveTimeline`. Source: docs/protocol/timeline.md.
 */
import { SortedList } from "../../lib/sorted-list.ts";
import { pinsIn } from "../../wire/bodies.ts";
import { byText, LastWord } from "./last-word.ts";
import { OwnersWord, type RoomFacts } from "./owners-word.ts";
import { type Deletion, type Reaction, TimelineItem, type TimelineMessage } from "./timeline-item.ts";
import { Deletions, type Doing, Reactions } from "./timeline-marks.ts";
import { isItemKind, titleOf } from "./timeline-rules.ts";
import { replaces, Slot, Target } from "./timeline-slot.ts";
import { Waiting } from "./waiting.ts";

/** A change of a timeline. `removed` is rare: the sender made two messages with one id. */
export type TimelineChange<M extends TimelineMessage> =
  | { readonly what: "added" | "changed" | "removed"; readonly item: TimelineItem<M> }
  | { readonly what: "title" | "pins" }
  /** How far a member has read. */
  | { readonly what: "receipt"; readonly from: string };

/** The room's name for people. */
export interface Title {
  readonly text: string;
  /** The owner who gave it. */
  readonly by: string;
  /** Whether its signature is missing, because the room does not sign. */
  readonly isUnsigned: boolean;
}

/** The kinds that change another message. They wait for it. */
const aboutAnother: ReadonlySet<string> = new Set(["edit", "delete", "react", "unreact"]);

/** A timeline that grows by one message at a time, in any order. */
export class Timeline<M extends TimelineMessage> {
  readonly #targets = new Map<string, Target<M>>();
  /** The target that was looked up last: what a message changes is asked for more than once. */
  #latest: Target<M> | null = null;
  readonly #items = new SortedList<Slot<M>>(Slot.compare, ({ time }) => time);
  /** The targets that have deletions: they depend on who is an owner. */
  readonly #deleted = new Set<Target<M>>();
  readonly #waiting = new Waiting<M>();
  readonly #titles = new OwnersWord<M>();
  readonly #pins = new OwnersWord<M>();
  readonly #receipts = new Map<string, SortedList<M>>();
  #facts: RoomFacts;
  #title: M | null = null;
  #pin: M | null = null;

  constructor(
    facts: RoomFacts,
    /** Called after each change. */
    private readonly onChange: ((change: TimelineChange<M>) => void) | null = null,
  ) {
    this.#facts = facts;
  }

  /** How many items there are. */
  get size(): number {
    return this.#items.size;
  }

  /** The items from a position up to another one, which is not included. By default all of them, oldest first. */
  items(start = 0, end = this.size): TimelineItem<M>[] {
    return this.#items.slice(start, end).map(itemOf);
  }

  /** The position of an item, from 0, or -1 if it is not in the timeline. */
  indexOf({ id, from }: { readonly id: string; readonly from: string }): number {
    const slot = this.#find(id, from);
    return slot?.isItem === true ? this.#items.indexOf(slot) : -1;
  }

  /** The item with an id, or null if there is none, or if several senders used that id. */
  item(id: string): TimelineItem<M> | null {
    const slot = this.#targets.get(id)?.only;
    return slot?.isItem === true ? itemOf(slot) : null;
  }

  /** The item that a message belongs to: an edit belongs to the message that it edits. Null if it is not known. */
  rootOf({ id, from }: { readonly id: string; readonly from: string }): TimelineItem<M> | null {
    const root = this.#find(id, from)?.root;
    return root?.isItem === true ? itemOf(root) : null;
  }

  /** The room's name for people, or null if it has none. */
  get title(): Title | null {
    const text = this.#title === null ? null : titleOf(this.#title.data);
    if (this.#title === null || text === null) return null;
    return { text, by: this.#title.from, isUnsigned: !this.#title.verified };
  }

  /** The ids of the pinned messages, in the order of the owner who pinned them. */
  get pins(): readonly string[] {
    return this.#pin === null ? [] : (pinsIn(this.#pin.data) ?? []);
  }

  /** The id of the last message that each member said it dealt with, by endpoint. */
  get receipts(): ReadonlyMap<string, string> {
    const ids = [...this.#receipts].flatMap(([from, { last }]) => (last ? [[from, last.replyTo ?? ""] as const] : []));
    return new Map(ids);
  }

  /** Adds a message. A copy of a known one changes nothing. */
  add(message: M): void {
    const slot = this.#targetOf(message.id).slotOf(message.from);
    if (slot.message !== null && !replaces(message, slot.message)) return;
    if (slot.message !== null) this.#take(slot, slot.message);
    this.#put(slot, message);
  }

  /** Updates what the timeline knows of its room: after a change of its owners, and after each new statement. */
  update(facts: RoomFacts): void {
    this.#facts = facts;
    for (const target of this.#deleted) this.#refreshDeletions(target);
    this.#titles.recheck(facts);
    this.#pins.recheck(facts);
    this.#refreshRoom();
  }

  #put(slot: Slot<M>, message: M): void {
    const { target } = slot;
    const other = target.first === slot && slot.next === null ? null : target.only;
    slot.message = message;
    if (target.deletions !== null) slot.deletion = this.#deletionOf(target, message);
    if (target.waiting !== null) this.#arrived(target);
    if (isItemKind(message.kind)) {
      this.#spread(slot, slot);
      this.#items.add(slot);
      slot.isItem = true;
      this.#emit("added", slot);
    } else {
      if (message.kind === "edit") this.#link(slot, message);
      if (slot.deletion === null) this.#apply(message, "add");
      this.#wait(message);
    }
    // Two messages with one id: no reader can know which one a reaction is for.
    if (other !== null) this.#touch(other);
  }

  /** Takes a message out, as if it had never been added. */
  #take(slot: Slot<M>, message: M): void {
    const item = slot.isItem ? itemOf(slot) : null;
    const isCounted = slot.deletion === null;
    if (slot.isItem) this.#items.remove(slot);
    this.#uproot(slot, message);
    slot.message = null;
    slot.deletion = null;
    slot.isItem = false;
    slot.item = null;
    this.#waiting.delete(message);
    if (item !== null) this.onChange?.({ what: "removed", item });
    else if (isCounted) this.#apply(message, "remove");
    const other = slot.target.only;
    if (other !== null) this.#touch(other);
  }

  /** Adds or takes back what a message changes, unless it is an edit: `#edit` does those. */
  #apply(message: M, does: Doing): void {
    const { kind, data } = message;
    if (kind === "delete") this.#delete(message, does);
    else if (kind === "react" || kind === "unreact") this.#react(message, does);
    else if (kind === "title" && titleOf(data) !== null) this.#decide(this.#titles, message, does);
    else if (kind === "pin" && pinsIn(data) !== null) this.#decide(this.#pins, message, does);
    else if (kind === "receipt") this.#receive(message, does);
  }

  /** Whether a change may count: in a room that signs, only with a signature. */
  #isSigned(message: M): boolean {
    return message.verified || !this.#facts.signs;
  }

  // Edits.

  /** Links an edit to the message that it names, which may be an edit itself. */
  #link(slot: Slot<M>, { replyTo }: M): void {
    if (replyTo === null) return;
    const parent = this.#targetOf(replyTo).slotOf(slot.from);
    parent.children ??= [];
    parent.children.push(slot);
    if (parent.root !== null) this.#spread(parent.root, slot);
  }

  /** Counts a slot, and all edits below it, for an item. */
  #spread(root: Slot<M>, start: Slot<M>): void {
    this.#count(root, start);
    // Almost every message: no edit came before it.
    if (start.children === null) return;
    const open = [...start.children];
    for (let slot = open.pop(); slot !== undefined; slot = open.pop()) {
      this.#count(root, slot);
      for (const child of slot.children ?? []) open.push(child);
    }
  }

  #count(root: Slot<M>, slot: Slot<M>): void {
    slot.root = root;
    if (slot !== root && slot.message !== null && slot.deletion === null) this.#edit(root, slot.message, "add");
  }

  /** Undoes `#link` and `#spread`. */
  #uproot(start: Slot<M>, { kind, replyTo }: M): void {
    const { root } = start;
    const open = root === null ? [] : [start];
    for (let slot = open.pop(); slot !== undefined; slot = open.pop()) {
      slot.root = null;
      if (root !== null && root !== start && slot.message !== null) this.#edit(root, slot.message, "remove");
      for (const child of slot.children ?? []) if (child.root !== null) open.push(child);
    }
    start.edits = null;
    const parent = kind === "edit" && replyTo !== null ? this.#find(replyTo, start.from) : null;
    if (parent !== null) parent.children = parent.children?.filter((child) => child !== start) ?? null;
  }

  #edit(root: Slot<M>, edit: M, does: Doing): void {
    if (root.message === null || !this.#isSigned(edit) || !this.#isSigned(root.message)) return;
    root.edits ??= new LastWord();
    const before = root.edits.last;
    root.edits[does](edit);
    if (root.edits.last !== before) this.#touch(root);
  }

  // Deletions and reactions.

  #delete(message: M, does: Doing): void {
    if (message.replyTo === null) return;
    const target = this.#targetOf(message.replyTo);
    target.deletions ??= new Deletions();
    target.deletions.change(message, does);
    this.#deleted.add(target);
    this.#refreshDeletions(target);
  }

  #deletionOf({ deletions }: Target<M>, message: M): Deletion | null {
    return message.kind === "delete" ? null : (deletions?.of(message, this.#facts) ?? null);
  }

  #refreshDeletions(target: Target<M>): void {
    for (let slot = target.first; slot !== null; slot = slot.next) {
      const { message, deletion: before } = slot;
      if (message === null) continue;
      const now = this.#deletionOf(target, message);
      if (now?.by === before?.by && now?.byOwner === before?.byOwner) continue;
      slot.deletion = now;
      if (slot.isItem) this.#emit("changed", slot);
      else if ((now === null) !== (before === null)) this.#recount(slot, message, now === null ? "add" : "remove");
    }
  }

  /** A message that changes something was deleted, or is not deleted any more. */
  #recount(slot: Slot<M>, message: M, does: Doing): void {
    if (message.kind === "edit" && slot.root !== null) this.#edit(slot.root, message, does);
    else this.#apply(message, does);
  }

  #react(message: M, does: Doing): void {
    if (message.replyTo === null || !this.#isSigned(message)) return;
    const target = this.#targetOf(message.replyTo);
    target.reactions ??= new Reactions();
    if (!target.reactions.change(message, does)) return;
    const slot = target.only;
    if (slot !== null) this.#touch(slot);
  }

  // The room.

  #decide(word: OwnersWord<M>, message: M, does: Doing): void {
    if (!this.#isSigned(message)) return;
    word[does](message, this.#facts);
    this.#refreshRoom();
  }

  #refreshRoom(): void {
    const [title, pin] = [this.#titles.current(this.#facts), this.#pins.current(this.#facts)];
    const isTitle = title !== this.#title;
    const isPin = pin !== this.#pin;
    this.#title = title;
    this.#pin = pin;
    if (isTitle) this.onChange?.({ what: "title" });
    if (isPin) this.onChange?.({ what: "pins" });
  }

  #receive(message: M, does: Doing): void {
    if (message.replyTo === null || !this.#isSigned(message)) return;
    const own = this.#receipts.get(message.from) ?? new SortedList<M>(byTarget);
    this.#receipts.set(message.from, own);
    const before = own.last?.replyTo;
    own[does](message);
    if (own.last?.replyTo !== before) this.onChange?.({ what: "receipt", from: message.from });
  }

  // Messages whose target is not known.

  #wait(message: M): void {
    if (message.replyTo === null || !aboutAnother.has(message.kind)) return;
    const target = this.#targetOf(message.replyTo);
    if (target.isKnown) return;
    target.waiting ??= [];
    target.waiting.push(message);
    const dropped = this.#waiting.add(message);
    if (dropped !== null) this.#drop(dropped);
  }

  #arrived(target: Target<M>): void {
    for (const message of target.waiting ?? []) this.#waiting.delete(message);
    target.waiting = null;
  }

  /** Forgets a message that waited too long. */
  #drop(message: M): void {
    const slot = this.#find(message.id, message.from);
    if (slot?.message !== message) return;
    this.#take(slot, message);
    const target = this.#targetOf(message.replyTo ?? "");
    const waiting = target.waiting?.filter((one) => one !== message) ?? [];
    target.waiting = waiting.length === 0 ? null : waiting;
    for (const one of [target, slot.target]) {
      if (!one.isEmpty) continue;
      this.#targets.delete(one.id);
      this.#latest = null;
      this.#deleted.delete(one);
    }
  }

  // Targets and items.

  #targetOf(id: string): Target<M> {
    if (this.#latest?.id === id) return this.#latest;
    const known = this.#targets.get(id);
    const target = known ?? new Target<M>(id);
    if (known === undefined) this.#targets.set(id, target);
    this.#latest = target;
    return target;
  }

  #find(id: string, from: string): Slot<M> | null {
    return this.#targets.get(id)?.find(from) ?? null;
  }

  /** Something of an item changed that it shows, unless it is deleted. */
  #touch(slot: Slot<M>): void {
    if (slot.isItem && slot.deletion === null) this.#emit("changed", slot);
  }

  #emit(what: "added" | "changed", slot: Slot<M>): void {
    slot.item = null;
    if (this.onChange !== null) this.onChange({ what, item: itemOf(slot) });
  }
}

const noReactions: readonly Reaction[] = [];

function itemOf<M extends TimelineMessage>(slot: Slot<M>): TimelineItem<M> {
  if (slot.item !== null) return slot.item;
  const { target, deletion } = slot;
  const isPlain = target.reactions === null || deletion !== null || target.only === null;
  const reactions = isPlain ? noReactions : (target.reactions?.list() ?? noReactions);
  slot.item = new TimelineItem(slot.message as M, slot.edits?.last ?? null, deletion, reactions);
  return slot.item;
}

const byTarget = (one: TimelineMessage, other: TimelineMessage): number =>
  byText(one.replyTo ?? "", other.replyTo ?? "") || byText(one.id, other.id);
