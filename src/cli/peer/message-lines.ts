import type { Message, MessageKind, Room } from "../../client/index.ts";
import { LruCache } from "../../lib/lru-cache.ts";
import { pinsIn, titleIn } from "../../wire/bodies.ts";
import { toBase64 } from "../../wire/encoding.ts";
import { printJson, printLine } from "../print.ts";
import { colourOf, type Piece, painter } from "../terminal-text.ts";
import { refWord } from "./blob-ref.ts";

/** How many messages are remembered, to quote them in replies. */
const rememberedMax = 1_000;
/** Length of the quote in a reply, in characters. */
const excerptLengthMax = 30;
/** How many characters of an id or endpoint identify it in output. */
const shortLength = 6;

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Decodes UTF-8, or returns null if the bytes are not UTF-8. */
export function textOf(data: Uint8Array): string | null {
  try {
    return strict.decode(data);
  } catch {
    return null;
  }
}

/** Formats a size for people. */
export function sizeText(bytes: number): string {
  if (bytes < 1_024) return `${bytes} B`;
  return bytes < 1_048_576 ? `${(bytes / 1_024).toFixed(1)} KiB` : `${(bytes / 1_048_576).toFixed(1)} MiB`;
}

/**
 * Formats a message as JSON: `{id, from, handle, time, kind, text | data, media_type?, file_name?, file_size?, hops?,
 * thread?, re?, blob?, verified, late, early, clock_unsure?}`.
 * Shape: `data` is base64-std, used if the data is not UTF-8; `file_size` is in bytes; `blob` is a reference for
 * `blob get`, of a file that is not in parts.
 */
export function messageFields(message: Message): object {
  const { id, from, handle, timeMs, kind, data, thread, replyTo, blob, epoch, mediaType, fileName, hops } = message;
  const text = textOf(data);
  const file = message.file();
  const isOne = message.header.parts === undefined;
  return {
    ...{ id, from, handle, time: new Date(timeMs).toISOString(), kind },
    ...(text === null ? { data: toBase64(data) } : { text }),
    ...(mediaType === null ? {} : { media_type: mediaType }),
    ...(fileName === null ? {} : { file_name: fileName }),
    ...(file === null ? {} : { file_size: file.size }),
    ...(hops === 0 ? {} : { hops }),
    ...(thread === null ? {} : { thread }),
    ...(replyTo === null ? {} : { re: replyTo }),
    ...(blob === null || !isOne ? {} : { blob: refWord({ blob, epoch }) }),
    ...{ verified: message.verified, late: message.late, early: message.early },
    ...(message.clockUnsure ? { clock_unsure: true } : {}),
  };
}

/** Kinds that change or comment on another message, or the room. */
const changes: ReadonlySet<MessageKind> = new Set<MessageKind>([
  ...(["edit", "delete", "react", "unreact", "pin", "title", "receipt"] as const),
  ...(["invite", "join", "leave", "kick", "ack"] as const),
]);

/** Whether a message stands for itself, as a text or a file does. */
export function isOriginal(kind: MessageKind): boolean {
  return !changes.has(kind);
}

/** Shows a body that is not UTF-8: with replacement characters, or its size if its kind need not be text. */
export function shownBytes({ kind, data, text }: Message): string {
  const isBinary = kind === "data" || kind === "unsupported" || kind.startsWith("app.");
  return isBinary ? `[${sizeText(data.length)}, not text]` : text;
}

/** Describes a message that changes something about the room. */
function changeText({ kind, data }: Message, words: string): string {
  if (kind === "pin") {
    const count = pinsIn(data)?.length;
    if (count === undefined) return "* pin: not a list of messages";
    return count === 0 ? "* removed all pins" : `* set the pins: ${count} ${count === 1 ? "message" : "messages"}`;
  }
  if (kind === "title") return `* set the title: ${titleIn(data) ?? "not valid"}`;
  return `* ${kind}${words === "" ? "" : `: ${words}`}`;
}

/** What is remembered of a message, to quote it. */
interface Quoted {
  /** The endpoint of its sender. */
  readonly from: string;
  readonly name: string;
  /** The beginning of its text, with quotes. */
  readonly excerpt: string;
}

const two = (number: number): string => String(number).padStart(2, "0");

/** Formats the messages of one room as lines for people. */
export class MessageLines {
  readonly #paint = painter();
  readonly #quoted = new LruCache<Quoted>(rememberedMax);

  constructor(private readonly room: Room) {}

  /** The name of a peer: its handle, with part of its endpoint if another member has the same handle. */
  nameOf({ from, handle }: { readonly from: string; readonly handle: string }): string {
    const isShared = this.room.members.some((one) => one.handle === handle && one.endpoint !== from);
    const name = handle || "?";
    return isShared ? `${name}#${from.slice(0, shortLength)}` : name;
  }

  /**
   * Formats a message as one line: time, handle, text. A `?` after the name means that no signature was verified.
   * `edit` is the last edit of the message, if it is shown in place of the text that was sent.
   */
  lineOf(message: Message, edit: Message | null = null): Piece[] {
    const name = this.nameOf(message);
    const shown = this.#paint(`${name}${message.verified ? "" : "?"}`, colourOf(message.from));
    const line = [this.#paint(this.#timeOf(message), "dim"), "  ", shown, "  ", ...this.#whatOf(message, edit)];
    this.#remember(message, name);
    const mark = message.late ? "(late)" : message.early ? "(early)" : null;
    return mark === null ? line : [...line, "  ", this.#paint(mark, "yellow")];
  }

  #timeOf({ timeMs }: Message): string {
    const at = new Date(timeMs);
    const clock = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
    return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock}`;
  }

  #whatOf(message: Message, edit: Message | null): Piece[] {
    const { kind, replyTo, fileName, id } = message;
    const words = wordsOf(edit ?? message);
    const target = this.#quoteOf(replyTo);
    if (kind === "react") return [words, " ", this.#paint(`to ${target}`, "dim")];
    if (kind === "unreact") return [`* took back ${words} `, this.#paint(`from ${target}`, "dim")];
    if (kind === "receipt") return ["* has dealt with ", this.#paint(target, "dim")];
    if (kind === "edit" || kind === "delete") return this.#revisionOf(message, words);
    if (!isOriginal(kind)) {
      const isIgnored = (kind === "pin" || kind === "title") && !this.#isOwner(message.from);
      return [changeText(message, words), isIgnored ? " (not an owner: ignored)" : ""];
    }
    const name = fileName === null ? "" : `${JSON.stringify(fileName)}, `;
    const size = message.file()?.size;
    const gap = words === "" ? [] : [" "];
    const file = size === undefined ? [] : [...gap, this.#paint(`[file, ${name}${sizeText(size)}: ${id}]`, "dim")];
    const to = replyTo === null ? [] : [this.#paint(`(to ${target})`, "dim"), " "];
    const what = kind === "unsupported" ? [this.#paint("[needs a newer unibus]", "yellow"), " "] : [];
    const edited = edit === null ? [] : [" ", this.#paint("(edited)", "dim")];
    return [...to, ...what, words, ...file, ...edited];
  }

  /** Describes an edit or a deletion. One that does not count, because its sender may not make it, is marked. */
  #revisionOf({ kind, from, replyTo }: Message, words: string): Piece[] {
    const quoted = this.#quoted.get(replyTo ?? "");
    const isOwn = quoted?.from === from;
    // What a member sent is named by its text, what another sent also by their name.
    const target = isOwn ? quoted.excerpt : this.#quoteOf(replyTo);
    const counts = quoted === undefined || isOwn || (kind === "delete" && this.#isOwner(from));
    if (!counts) {
      const verb = kind === "edit" ? "edit" : "delete";
      return [`* tried to ${verb} `, this.#paint(target, "dim"), ", which is not theirs: ignored"];
    }
    if (kind === "delete")
      return [`* ${isOwn || quoted === undefined ? "deleted" : "removed"} `, this.#paint(target, "dim")];
    return ["* edited ", this.#paint(target, "dim"), `: ${words}`];
  }

  #isOwner(endpoint: string): boolean {
    return this.room.members.some((one) => one.endpoint === endpoint && one.role === "owner");
  }

  #quoteOf(id: string | null): string {
    const quoted = this.#quoted.get(id ?? "");
    return quoted === undefined ? `…${(id ?? "").slice(-shortLength)}` : `${quoted.name} ${quoted.excerpt}`;
  }

  /** Remembers a message to quote it; after an edit or a deletion by its sender, as it is then. */
  #remember({ id, kind, data, from, replyTo }: Message, name: string): void {
    const isTaken = (one: string) => (this.#quoted.get(one)?.from ?? from) !== from;
    if (isOriginal(kind)) {
      // Another member may use the same id.
      if (!isTaken(id)) this.#quoted.set(id, { from, name, excerpt: excerptOf(data) });
    } else if ((kind === "edit" || kind === "delete") && this.#quoted.get(replyTo ?? "")?.from === from) {
      this.#quoted.set(replyTo ?? "", { from, name, excerpt: kind === "edit" ? excerptOf(data) : "(deleted)" });
    }
  }
}

/** The text of a message. Most programs end text with a newline, which `--json` output keeps. */
function wordsOf(message: Message): string {
  return (textOf(message.data) ?? shownBytes(message)).replace(/\r?\n$/, "");
}

/** The beginning of a text, with quotes. */
function excerptOf(data: Uint8Array): string {
  const text = textOf(data) ?? "";
  const isLong = text.length > excerptLengthMax;
  return `"${isLong ? `${[...text.slice(0, excerptLengthMax)].slice(0, -1).join("")}…` : text}"`;
}

/** Returns a function that prints the messages of a room as text or JSON. */
export function linePrinter(
  room: Room,
  { json, ids }: { readonly json?: boolean | undefined; readonly ids?: boolean | undefined },
): (message: Message) => Promise<void> {
  if (json) return (message) => printJson(messageFields(message));
  const lines = new MessageLines(room);
  return (message) => printLine(ids ? `${message.id}  ` : "", ...lines.lineOf(message));
}
