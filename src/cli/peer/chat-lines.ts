/**
 * The lines of a chat: how a message and each change of one is shown. A terminal in line mode does not repaint what has
 * scrolled away, so a change is a line of its own, which names the number of its message. All text is escaped when it
 * is printed.
 */
import type { Message, Room, TimelineItem } from "../../client/index.ts";
import { LruCache } from "../../lib/lru-cache.ts";
import { colourOf, type Paint, type Piece } from "../terminal-text.ts";
import { shownBytes, sizeText, textOf } from "./message-lines.ts";

/** Length of the quote in a reply, in characters. */
const excerptLengthMax = 30;
/** The longest text that a terminal shows: characters and lines. */
const shownMax = { characters: 4_000, lines: 20 } as const;
/** How many characters of an endpoint identify a member in output. */
const shortLength = 6;
/** The longest name that is shown, in characters. */
const nameLengthMax = 64;
/** How many names of former members are remembered. */
const namesMax = 1_000;
/** Where the text of a message begins below its number and time, for its further lines. */
const indent = " ".repeat(14);

const two = (number: number): string => String(number).padStart(2, "0");

function clockOf(timeMs: number): string {
  const at = new Date(timeMs);
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
}

const cut = (text: string, length: number): string => {
  const characters = [...text.slice(0, 2 * length + 2)];
  return characters.length > length ? `${characters.slice(0, length - 1).join("")}…` : text;
};

/** Formats the messages of one room and their changes. */
export class ChatLines {
  readonly #handles = new LruCache<string>(namesMax);

  constructor(
    private readonly room: Room,
    private readonly paint: Paint,
    private readonly deps: {
      /** This peer's endpoint. */
      readonly me: string;
      /** A terminal shows long texts in several lines, and the rest of them not at all. Pipes get one line. */
      readonly isTerminal: boolean;
      /** The number of a message, by its id; null if it has none. */
      readonly numberOf: (id: string) => number | null;
      readonly itemOf: (id: string) => TimelineItem<Message> | null;
    },
  ) {}

  /** The name of a member, present or former: the handle, with part of the endpoint if two have the same. */
  nameOf(endpoint: string): string {
    const { members } = this.room;
    const handle = members.find((one) => one.endpoint === endpoint)?.handle ?? this.#handles.get(endpoint);
    const name = cut(handle || "?", nameLengthMax);
    const isShared = members.some((one) => one.handle === handle && one.endpoint !== endpoint);
    return isShared || handle === undefined ? `${name}#${endpoint.slice(0, shortLength)}` : name;
  }

  /** Remembers the name of a sender, who may leave. */
  learn({ from, handle }: Pick<Message, "from" | "handle">): void {
    this.#handles.set(from, handle);
  }

  /** A message with its number, time, name and text, as its last edit has it. The first line, and further ones. */
  message(item: TimelineItem<Message>, number: number | null): Piece[][] {
    const { paint } = this;
    const name = `${this.nameOf(item.from)}${item.isUnsigned ? "?" : ""}`;
    const start = [
      ...[paint(`${String(number ?? "").padStart(3)} `, "dim"), paint(clockOf(item.timeMs), "dim")],
      ...["  ", paint(name, colourOf(item.from)), "  "],
    ];
    const { message } = item;
    if (message === null) return [[...start, paint(`[${this.#removal(item)}]`, "dim")]];
    const [first = "", ...rest] = this.#text(item);
    const marks = [
      ...(item.edit === null ? [] : [" ", paint("(edited)", "dim")]),
      ...(item.reactions.length === 0 ? [] : ["  ", paint(this.#reactions(item), "dim")]),
      ...(message.late ? ["  ", paint("(late)", "yellow")] : message.early ? ["  ", paint("(early)", "yellow")] : []),
    ];
    const lines = [[...start, ...this.#context(message), first], ...rest.map((line) => [indent, line])];
    lines.at(-1)?.push(...this.#file(message, number, item.text === "" ? [] : [" "]), ...marks);
    return lines;
  }

  /** What changed between two states of a message, one line for each change. `number`: how to name the message. */
  changes(before: TimelineItem<Message>, now: TimelineItem<Message>, number: number): Piece[][] {
    if (before.deletion === null && now.deletion !== null) return [this.#note(this.#removalOf(now, number))];
    if (before.deletion !== null && now.deletion === null) return [this.#edited(now, `${number} is back`)];
    if (now.deletion !== null) return [];
    const edits = before.edit === now.edit ? [] : [this.#edited(now, `${number} edited`)];
    return [...edits, ...this.#reacted(before, now, number)];
  }

  #note(text: string): Piece[] {
    return [this.paint(`    ${text}`, "dim")];
  }

  #edited(item: TimelineItem<Message>, what: string): Piece[] {
    const [first = "", ...rest] = this.#text(item);
    const mark = item.isUnsigned ? "?" : "";
    return [this.paint(`    ${what}${mark}: `, "dim"), [first, ...rest].join(" ⏎ ")];
  }

  #reacted(before: TimelineItem<Message>, now: TimelineItem<Message>, number: number): Piece[][] {
    const pairs = ({ reactions }: TimelineItem<Message>) =>
      new Map(reactions.flatMap(({ emoji, from }) => from.map((one) => [`${one} ${emoji}`, { emoji, one }] as const)));
    const [old, fresh] = [pairs(before), pairs(now)];
    const added = [...fresh].filter(([key]) => !old.has(key));
    const removed = [...old].filter(([key]) => !fresh.has(key));
    return [
      ...added.map(([, { emoji, one }]) => this.#note(`${emoji} ${this.nameOf(one)} on ${number}`)),
      ...removed.map(([, { emoji, one }]) => this.#note(`${emoji} taken back by ${this.nameOf(one)} on ${number}`)),
    ];
  }

  #removalOf({ deletion, from }: TimelineItem<Message>, number: number): string {
    const by = this.nameOf(deletion?.by ?? from);
    return deletion?.byOwner === true ? `${by}, an owner, removed ${number}` : `${by} removed ${number}`;
  }

  #removal({ deletion, from }: TimelineItem<Message>): string {
    const by = this.nameOf(deletion?.by ?? from);
    return deletion?.byOwner === true ? `removed by ${by}, an owner` : `removed by ${by}`;
  }

  #reactions({ reactions }: TimelineItem<Message>): string {
    return reactions.map(({ emoji, from }) => `${emoji} ${from.map((one) => this.nameOf(one)).join(", ")}`).join("  ");
  }

  /** The text of a message, in lines. */
  #text(item: TimelineItem<Message>): string[] {
    const { message } = item;
    if (message === null) return [];
    const shown = textOf(item.data) ?? (item.edit === null ? shownBytes(message) : item.text);
    const text = shown.replace(/\r?\n$/, "");
    if (!this.deps.isTerminal) return [text];
    const isLong = text.length > shownMax.characters;
    const lines = (isLong ? `${cut(text, shownMax.characters)} (long: see unibus history)` : text).split(/\r?\n/);
    if (lines.length <= shownMax.lines) return lines;
    return [...lines.slice(0, shownMax.lines), `… (${lines.length - shownMax.lines} more lines: see unibus history)`];
  }

  /** What a message answers, and what this version does not know of it. */
  #context({ replyTo, kind }: Message): Piece[] {
    const to = replyTo === null ? [] : [this.paint(`(to ${this.#excerpt(replyTo)})`, "dim"), " "];
    return kind === "unsupported" ? [...to, this.paint("[needs a newer unibus]", "yellow"), " "] : to;
  }

  #excerpt(id: string): string {
    const item = this.deps.itemOf(id);
    if (item === null) return `…${id.slice(-shortLength)}`;
    const number = this.deps.numberOf(id);
    const text = cut(item.text.replaceAll(/\s+/g, " "), excerptLengthMax);
    const name = item.message?.fileName ?? null;
    const about = text === "" && name !== null ? `[file "${name}"]` : `"${text}"`;
    const what = item.message === null ? "a removed message" : about;
    return `${number === null ? "" : `${number}, `}${this.nameOf(item.from)} ${what}`;
  }

  #file(message: Message, number: number | null, gap: readonly Piece[]): Piece[] {
    const file = message.file();
    if (file === null) return [];
    const name = file.name === null ? "" : ` ${JSON.stringify(file.name)}`;
    const how = number === null ? "" : `: /get ${number}`;
    return [...gap, this.paint(`[file${name}, ${sizeText(file.size)}${how}]`, "dim")];
  }
}
