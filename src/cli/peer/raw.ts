/** Reads and prints a room's messages unchecked, including those of stock NATS clients. */
import type { Bus, Room } from "../../client/index.ts";
import { fromBase64, toBase64 } from "../../wire/encoding.ts";
import { decodeFrame, isDropped } from "../../wire/frame.ts";
import { type PrintOptions, printJson, printLine } from "../print.ts";
import { sizeText, textOf } from "./message-lines.ts";

/** Page size. */
const pageMax = 1_000;

/** Fetches the last stored messages of a room, unchecked, oldest first. Errors: those of GET history. */
export async function lastRaw(bus: Bus, room: Room, limit: number, signal: AbortSignal): Promise<Uint8Array[]> {
  const pages: Uint8Array[][] = [];
  let before: number | undefined;
  for (let left = limit; left > 0; ) {
    const place = before === undefined ? {} : { before };
    const page = await bus.control.history(room.id, { limit: Math.min(left, pageMax), ...place }, signal);
    pages.unshift(page.messages.map((text) => fromBase64(text) ?? new Uint8Array()));
    left -= page.messages.length;
    if (!page.more || page.messages.length === 0) break;
    before = page.first_seq;
  }
  return pages.flat();
}

/**
 * Prints one message unchecked: its text, or JSON `{text | data, frame}`, where `frame` says if it parses as a frame.
 */
export function printRaw(bytes: Uint8Array, { json }: PrintOptions): Promise<void> {
  const text = textOf(bytes);
  const content = text === null ? { data: toBase64(bytes) } : { text };
  if (json) return printJson({ ...content, frame: !isDropped(decodeFrame(bytes)) });
  return printLine(text ?? `[${sizeText(bytes.length)}, not text]`);
}

/** How many bytes of live messages may wait for a slow reader of stdout. */
const waitingBytesMax = 64 * 1_048_576;

/**
 * Prints live messages unchecked, as they arrive. What waits for a slow reader of stdout is bounded: further messages
 * are dropped, because members choose how many there are.
 */
export class RawPrinter {
  #waiting = 0;
  #dropped = 0;

  /** `onDrop` is called with the number of dropped messages, at the first and whenever it has grown tenfold. */
  constructor(
    private readonly print: (bytes: Uint8Array) => Promise<void>,
    private readonly onDrop: (count: number) => void,
  ) {}

  /** Prints a message, or drops it. Never throws: a stdout that fails ends the command by itself. */
  take(bytes: Uint8Array): void {
    if (this.#waiting + bytes.length > waitingBytesMax) {
      this.#dropped += 1;
      if (/^10*$/.test(String(this.#dropped))) this.onDrop(this.#dropped);
      return;
    }
    this.#waiting += bytes.length;
    const done = (): void => {
      this.#waiting -= bytes.length;
    };
    this.print(bytes).then(done, done);
  }
}
