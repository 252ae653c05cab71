/** Escapes other people's text for a terminal. print.ts applies it to all output. */
import { hiddenReplacer } from "../wire/hidden.ts";

/** Characters that control a terminal, or hide or reorder text: controls, formats, ignorables, separators. */
const replaceSteering = hiddenReplacer("\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}\\p{Default_Ignorable_Code_Point}");

const named: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

function escaped(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  const hex = code.toString(16);
  return named[character] ?? (code < 0x100 ? `\\x${hex.padStart(2, "0")}` : `\\u{${hex}}`);
}

/** Escapes a text to one harmless line that shows every character: `\x1b` for an escape. */
export function safeText(text: string): string {
  return replaceSteering(text, escaped);
}

/** Serializes a value as one line of JSON that is harmless on a terminal and parses to the same value. */
export function safeJson(value: unknown): string {
  const unitEscape = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return replaceSteering(JSON.stringify(value), (character) => character.replace(/[\s\S]/g, unitEscape));
}

/** Escapes a text but keeps its line feeds and tabs. */
export function safeLines(text: string): string {
  return replaceSteering(text, (character) =>
    character === "\n" || character === "\t" ? character : escaped(character),
  );
}

/** Colours, with their SGR codes. */
const colours = { dim: 2, red: 31, green: 32, yellow: 33, blue: 34, magenta: 35, cyan: 36 } as const;

/** The name of a colour. */
export type Colour = keyof typeof colours;

const nameColours: readonly Colour[] = ["green", "yellow", "blue", "magenta", "cyan"];

/** The colour of a peer's name, always the same. */
export function colourOf(endpoint: string): Colour {
  const sum = [...endpoint].reduce((total, character) => total + character.charCodeAt(0), 0);
  return nameColours[sum % nameColours.length] ?? "green";
}

/** A text with a colour. It is escaped when it is printed, as any text is. */
class Painted {
  constructor(
    readonly text: string,
    readonly colour: Colour,
  ) {}
}

/** A part of a line: plain or coloured text. */
export type Piece = string | Painted;

/** Colours text or returns it as it is. */
export type Paint = (text: string, colour: Colour) => Piece;

/** Returns a function that colours text, if stdout is a terminal and colours are enabled. */
export function painter(): Paint {
  const isColoured = process.stdout.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== "dumb";
  return (text, colour) => (isColoured ? new Painted(text, colour) : text);
}

/** A piece of a line: its text, and how another text would look in its place. */
export interface Segment {
  readonly text: string;
  readonly withText: (text: string) => Piece;
}

/** The pieces of a line, to measure and break it. */
export function segmentsOf(line: readonly Piece[]): Segment[] {
  return line.map((piece) =>
    piece instanceof Painted
      ? { text: piece.text, withText: (text) => new Painted(text, piece.colour) }
      : { text: piece, withText: (text) => text },
  );
}

/** Renders the pieces of a line for a terminal. */
export function safePieces(pieces: readonly Piece[]): string {
  const shown = (piece: Piece) =>
    piece instanceof Painted ? `\x1b[${colours[piece.colour]}m${safeText(piece.text)}\x1b[0m` : safeText(piece);
  return pieces.map(shown).join("");
}
