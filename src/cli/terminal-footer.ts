/**
 * The bottom of a terminal: a status line and the line that a person types, below output that scrolls. Every change is
 * one write, so that nothing flickers, and what is typed is drawn again after each line of output.
 *
 * `footerRows` lays it out and is pure. It breaks rows itself, one column before the edge, so that the terminal never
 * wraps one and the number of rows to go up is always known.
 */
import { cellsOf, cutToWidth } from "./terminal-cells.ts";
import { type Piece, safePieces, safeText } from "./terminal-text.ts";

/** What a footer shows. */
export interface FooterContent {
  /** The status line; null without one. It is cut to one row. */
  readonly status: string | null;
  /** Colours the status line. */
  readonly paint: (status: string) => Piece;
  readonly prompt: string;
  /** The text that is being typed. */
  readonly line: string;
  /** The place of the cursor in `line`, in UTF-16 units. */
  readonly cursor: number;
}

/** The size of a terminal, in characters. */
export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** A footer, ready to be drawn. */
export interface FooterRows {
  readonly rows: readonly string[];
  /** Where the cursor belongs: the row, from 0, and the column, from 0. */
  readonly row: number;
  readonly column: number;
}

/** How many UTF-16 units around the cursor are laid out: more than any screen shows. */
const aroundCursor = 4_000;
/** How many rows of the typed line are shown at most. */
const typedRowsMax = 8;

/** Lays out a footer. */
export function footerRows({ status, paint, prompt, line, cursor }: FooterContent, size: TerminalSize): FooterRows {
  const width = Math.max(10, size.columns) - 1;
  const from = Math.max(0, cursor - aroundCursor);
  const typed = line.slice(from, cursor + aroundCursor);
  const rows: string[] = [safeText(prompt)];
  let column = Bun.stringWidth(rows[0] ?? "");
  let place = { row: 0, column };
  let isPlaced = false;
  for (const cell of cellsOf(typed)) {
    if (column + cell.width > width) {
      rows.push("");
      column = 0;
    }
    if (!isPlaced && from + cell.at + 1 > cursor) {
      place = { row: rows.length - 1, column };
      isPlaced = true;
    }
    rows[rows.length - 1] += cell.shown;
    column += cell.width;
  }
  if (!isPlaced) place = { row: rows.length - 1, column };
  const most = Math.max(1, Math.min(typedRowsMax, size.rows - 2));
  const first = Math.max(0, Math.min(place.row - most + 1, rows.length - most));
  const shown = rows.slice(first, first + most);
  if (status === null) return { rows: shown, row: place.row - first, column: place.column };
  const top = safePieces([paint(cutToWidth(status, width))]);
  return { rows: [top, ...shown], row: place.row - first + 1, column: place.column };
}

const csi = "\x1b[";
const up = (rows: number): string => (rows > 0 ? `${csi}${rows}A` : "");
const right = (columns: number): string => (columns > 0 ? `${csi}${columns}C` : "");
const eraseRight = `${csi}K`;
const eraseBelow = `${csi}J`;
/** Lets the terminal mark the beginning and the end of what is pasted, or not. */
const marksPaste = { on: `${csi}?2004h`, off: `${csi}?2004l` } as const;
/** Ends a row, whether or not the terminal adds carriage returns. */
const newRow = "\n\r";

interface Drawn extends FooterRows {
  readonly text: string;
}

const nothing: Drawn = { text: "", rows: [], row: 0, column: 0 };

/** The footer on this process's terminal. */
export class TerminalFooter {
  #drawn = nothing;
  #isOpen = true;

  constructor(private readonly content: () => FooterContent) {
    process.stdout.write(marksPaste.on);
  }

  /** Draws the footer again, if it changed. */
  draw(): void {
    if (!this.#isOpen) return;
    const next = this.#next();
    if (next.text === this.#drawn.text) return;
    process.stdout.write(`${this.#home()}${next.text}`);
    this.#drawn = next;
  }

  /** Prints lines above the footer. Resolves when they were written. */
  print(lines: readonly string[]): Promise<void> {
    const next = this.#isOpen ? this.#next() : nothing;
    const start = this.#isOpen ? `${this.#home()}${eraseBelow}` : "";
    this.#drawn = next;
    return new Promise((resolve) => {
      process.stdout.write(`${start}${lines.map((line) => `${line}${newRow}`).join("")}${next.text}`, () => resolve());
    });
  }

  /** Draws the footer where the cursor is: something else wrote to the terminal. */
  restart({ clears = false }: { readonly clears?: boolean } = {}): void {
    if (!this.#isOpen) return;
    this.#drawn = this.#next();
    process.stdout.write(`${marksPaste.on}${clears ? `${csi}H${csi}2J` : "\r"}${this.#drawn.text}`);
  }

  /** Draws the footer again after the size of the terminal changed, which may have wrapped the rows that were drawn. */
  resized(): void {
    if (!this.#isOpen) return;
    const { columns = 80 } = process.stdout;
    const { rows, row, column } = this.#drawn;
    const above = rows.slice(0, row).map((one) => Math.max(1, Math.ceil(Bun.stringWidth(one) / columns)));
    const rowsUp = above.reduce((sum, one) => sum + one, Math.floor(column / columns));
    this.#drawn = this.#next();
    process.stdout.write(`\r${up(rowsUp)}${eraseBelow}${this.#drawn.text}`);
  }

  /** Erases the footer, for good. */
  close(): void {
    if (!this.#isOpen) return;
    process.stdout.write(`${this.#home()}${eraseBelow}${marksPaste.off}`);
    this.#isOpen = false;
  }

  /** Moves to the first column of the first row. */
  #home(): string {
    return `\r${up(this.#drawn.row)}`;
  }

  #next(): Drawn {
    const { columns = 80, rows: height = 24 } = process.stdout;
    const laid = footerRows(this.content(), { columns, rows: height });
    const { rows, row, column } = laid;
    const back = `\r${up(rows.length - 1 - row)}${right(column)}`;
    return { ...laid, text: `${rows.join(`${eraseRight}${newRow}`)}${eraseRight}${eraseBelow}${back}` };
  }
}
