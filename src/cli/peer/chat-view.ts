/**
 * Shows a room's timeline in a chat: each message with a number, and each later change of one as a line that names the
 * number. Lines are printed one after another, in the order of the changes.
 */
import type { Message, Room, TimelineChange, TimelineItem } from "../../client/index.ts";
import type { LiveTimeline } from "../../client/rooms/live-timeline.ts";
import { Mutex } from "../../lib/mutex.ts";
import type { Paint, Piece } from "../terminal-text.ts";
import { ChatLines } from "./chat-lines.ts";
import type { ChatScreen } from "./chat-screen.ts";
import { isOriginal } from "./message-lines.ts";

/** How many messages are shown at the start. */
export const shownFirst = 20;
/** How many messages are remembered, to show what changes and to name them by their numbers. */
const rememberedMax = 1_000;

interface Shown {
  readonly number: number | null;
  item: TimelineItem<Message>;
}

/** The dependencies of a `ChatView`. */
export interface ChatViewDeps {
  readonly room: Room;
  readonly timeline: LiveTimeline;
  readonly screen: ChatScreen;
  readonly paint: Paint;
  /** This peer's endpoint. */
  readonly me: string;
  /** Called for each message when it was shown. */
  readonly onShown: (item: TimelineItem<Message>) => void;
}

/** The messages of a chat, by number. */
export class ChatView {
  readonly lines: ChatLines;
  readonly #shown = new Map<string, Shown>();
  readonly #keys = new Map<number, string>();
  readonly #printing = new Mutex();
  #number = 0;
  #pins: readonly string[] = [];
  #title: string | null = null;

  constructor(private readonly deps: ChatViewDeps) {
    const { room, paint, me, screen, timeline } = deps;
    const numberOf = (id: string) => this.numberOf(id);
    const itemOf = (id: string) => timeline.item(id);
    this.lines = new ChatLines(room, paint, { me, isTerminal: screen.isTerminal, numberOf, itemOf });
  }

  /** The message with a number; without one, the newest; null if it is not known. */
  item(number: number = this.#number): TimelineItem<Message> | null {
    return this.#shown.get(this.#keys.get(number) ?? "")?.item ?? null;
  }

  /** The newest message of this peer that can still be changed, or null. */
  get newestOwn(): TimelineItem<Message> | null {
    for (let number = this.#number; number > 0; number--) {
      const item = this.item(number);
      if (item === null) return null;
      if (item.from === this.deps.me && item.message !== null) return item;
    }
    return null;
  }

  /** The ids of the pinned messages. */
  get pins(): readonly string[] {
    return this.deps.timeline.pins;
  }

  /** The room's subject, with its title if it has one. */
  get roomName(): string {
    const { title } = this.deps.timeline;
    return title === null ? this.deps.room.subject : `${this.deps.room.subject} "${title.text}"`;
  }

  /** The number of a message, by its id; null if it has none. */
  numberOf(id: string): number | null {
    const item = this.deps.timeline.item(id);
    return item === null ? null : (this.#shown.get(item.key)?.number ?? null);
  }

  /** Shows the newest messages of the timeline, which is ready, and from now on what changes. */
  async start(): Promise<void> {
    const { timeline } = this.deps;
    const items = timeline.items().filter(({ kind }) => isOriginal(kind));
    const old = items.slice(0, -shownFirst);
    for (const item of old) this.#remember(item, null);
    this.#pins = timeline.pins;
    this.#title = timeline.title?.text ?? null;
    timeline.on("change", (change) => this.#changed(change));
    const shown = items.slice(-shownFirst).map((item) => this.#remember(item, this.#next()));
    await this.say(...shown.flatMap(({ item, number }) => this.lines.message(item, number)));
    for (const { item } of shown) this.deps.onShown(item);
    if (this.#pins.length > 0) await this.say([this.deps.paint(`    pinned: ${this.#named(this.#pins)}`, "dim")]);
  }

  /** Prints lines after all earlier ones. If stdout fails, the command ends, which reports that. */
  say(...lines: readonly (readonly Piece[])[]): Promise<void> {
    return this.#printing.hold(() => this.deps.screen.say(...lines)).catch(() => undefined);
  }

  /** Resolves when everything so far is printed. */
  settled(): Promise<void> {
    return this.#printing.settled();
  }

  #next(): number {
    this.#number += 1;
    return this.#number;
  }

  #remember(item: TimelineItem<Message>, number: number | null): Shown {
    const shown = { number, item };
    this.#shown.delete(item.key);
    this.#shown.set(item.key, shown);
    if (number !== null) this.#keys.set(number, item.key);
    if (item.message !== null) this.lines.learn(item.message);
    for (const [key, old] of this.#shown) {
      if (this.#shown.size <= rememberedMax) break;
      this.#shown.delete(key);
      if (old.number !== null) this.#keys.delete(old.number);
    }
    return shown;
  }

  #show(item: TimelineItem<Message>, { number }: Shown): Promise<void> {
    return this.say(...this.lines.message(item, number)).then(() => this.deps.onShown(item));
  }

  #changed(change: TimelineChange<Message>): void {
    if (change.what === "title") this.#titled();
    else if (change.what === "pins") this.#pinned();
    else if (change.what === "added") this.#added(change.item);
    else if (change.what === "changed") this.#changedItem(change.item);
    else if (change.what === "removed") this.#shown.delete(change.item.key);
  }

  #added(item: TimelineItem<Message>): void {
    const isNumbered = isOriginal(item.kind);
    void this.#show(item, this.#remember(item, isNumbered ? this.#next() : null));
  }

  #changedItem(item: TimelineItem<Message>): void {
    const known = this.#shown.get(item.key);
    // Too old to know what of it changed.
    if (known === undefined) return;
    const before = known.item;
    known.item = item;
    // A message from before the start of the chat gets a number when it is changed.
    if (known.number === null) {
      const lines = this.lines.message(item, this.#remember(item, this.#next()).number);
      void this.say(...lines);
      return;
    }
    void this.say(...this.lines.changes(before, item, known.number));
  }

  #titled(): void {
    const title = this.deps.timeline.title;
    if ((title?.text ?? null) === this.#title) return;
    this.#title = title?.text ?? null;
    const by = title === null ? "" : `${this.lines.nameOf(title.by)}${title.isUnsigned ? "?" : ""}`;
    const text = title === null ? "the room has no title any more" : `${by} gave the room the title "${title.text}"`;
    void this.#note(text);
  }

  #pinned(): void {
    const before = new Set(this.#pins);
    const now = new Set(this.deps.timeline.pins);
    this.#pins = [...now];
    const [added, removed] = [[...now].filter((id) => !before.has(id)), [...before].filter((id) => !now.has(id))];
    if (added.length > 0) void this.#note(`pinned: ${this.#named(added)}`);
    if (removed.length > 0) void this.#note(`no longer pinned: ${this.#named(removed)}`);
  }

  #named(ids: readonly string[]): string {
    const numbers = ids.flatMap((id) => this.numberOf(id) ?? []);
    const others = ids.length - numbers.length;
    const rest = others === 0 ? [] : [`${others} older ${others === 1 ? "message" : "messages"}`];
    return [...numbers.map(String), ...rest].join(", ");
  }

  #note(text: string): Promise<void> {
    return this.say([this.deps.paint(`    ${text}`, "dim")]);
  }
}
