/** Measures text as a terminal shows it: cuts it to a width, and breaks it into rows. */
import { type Piece, type Segment, safeText, segmentsOf } from "./terminal-text.ts";

/** A character as a person sees it. */
export interface Cell {
  /** Its place in the text, in UTF-16 units. */
  readonly at: number;
  /** Escaped for a terminal. */
  readonly shown: string;
  /** In columns. */
  readonly width: number;
}

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** Splits a text into characters. */
export function* cellsOf(text: string): Generator<Cell> {
  // Joiners are harmless in the right places, which only the whole text shows.
  const isSafe = safeText(text) === text;
  for (const { segment, index } of graphemes.segment(text)) {
    const shown = isSafe ? segment : safeText(segment);
    yield { at: index, shown, width: Bun.stringWidth(shown) };
  }
}

/** Cuts a text to a width, with an ellipsis if something is cut off. Escaped for a terminal. */
export function cutToWidth(text: string, width: number): string {
  const kept: Cell[] = [];
  let used = 0;
  let isCut = false;
  for (const cell of cellsOf(text)) {
    isCut = used + cell.width > width;
    if (isCut) break;
    kept.push(cell);
    used += cell.width;
  }
  while (isCut && used > width - 1) used -= kept.pop()?.width ?? used;
  return `${kept.map(({ shown }) => shown).join("")}${isCut ? "…" : ""}`;
}

interface Styled extends Cell {
  readonly segment: Segment;
}

const widthOf = (cells: readonly Cell[]): number => cells.reduce((sum, { width }) => sum + width, 0);

/** Joins cells of one colour to pieces. */
function piecesOf(cells: readonly Styled[]): Piece[] {
  const runs: { readonly segment: Segment; text: string }[] = [];
  for (const { segment, shown } of cells) {
    const last = runs.at(-1);
    if (last?.segment === segment) last.text += shown;
    else runs.push({ segment, text: shown });
  }
  return runs.map(({ segment, text }) => segment.withText(text));
}

/**
 * Breaks a line into rows, between words if possible. All rows but the first are indented, so that no text can look
 * like the beginning of a line.
 */
export function wrapped(line: readonly Piece[], width: number, indent: number): Piece[][] {
  const cells = segmentsOf(line).flatMap((segment) =>
    [...cellsOf(segment.text)].map((cell): Styled => ({ ...cell, segment })),
  );
  const rows: Piece[][] = [];
  const margin = Math.max(0, Math.min(indent, Math.floor(width / 3)));
  const start = (): Piece[] => (rows.length === 0 ? [] : [" ".repeat(margin)]);
  const room = (): number => (rows.length === 0 ? width : width - margin);
  let row: Styled[] = [];
  let used = 0;
  for (const cell of cells) {
    if (used + cell.width > room() && row.length > 0) {
      const space = row.findLastIndex(({ shown }) => shown === " ");
      // A word that is as long as most of a row is broken.
      const end = space > row.length / 2 ? space : row.length;
      rows.push([...start(), ...piecesOf(row.slice(0, end))]);
      row = row.slice(end === space ? end + 1 : end);
      used = widthOf(row);
    }
    row.push(cell);
    used += cell.width;
  }
  rows.push([...start(), ...piecesOf(row)]);
  return rows;
}
