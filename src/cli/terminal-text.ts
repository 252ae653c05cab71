/** What other people wrote, made harmless for a terminal. `print.ts` does it to everything that is printed. */
import { hiddenReplacer } from "../wire/hidden.ts";

/** What steers a terminal, reverses text or hides in it: controls, formats, ignorable characters, separators. */
const replaceSteering = hiddenReplacer("\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}\\p{Default_Ignorable_Code_Point}");

const named: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

function escaped(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  const hex = code.toString(16);
  return named[character] ?? (code < 0x100 ? `\\x${hex.padStart(2, "0")}` : `\\u{${hex}}`);
}

/** A text of somebody else in one line that shows what is in it and paints nothing: `\x1b` for an escape. */
export function safeText(text: string): string {
  return replaceSteering(text, escaped);
}

/** JSON of anything in one line that paints nothing on a terminal, and reads back as the same value. */
export function safeJson(value: unknown): string {
  const unitEscape = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return replaceSteering(JSON.stringify(value), (character) => character.replace(/[\s\S]/g, unitEscape));
}

/** A text of somebody else as data for a terminal: line ends and tabs stay. */
export function safeLines(text: string): string {
  return replaceSteering(text, (character) =>
    character === "\n" || character === "\t" ? character : escaped(character),
  );
}

/** Colours, by the number that a terminal knows them by. */
export const colours = { dim: 2, red: 31, green: 32, yellow: 33, blue: 34, magenta: 35, cyan: 36 } as const;

/** The name of a colour. */
export type Colour = keyof typeof colours;

const nameColours: readonly Colour[] = ["green", "yellow", "blue", "magenta", "cyan"];

/** The colour of a peer: the same one everywhere. */
export function colourOf(endpoint: string): Colour {
  const sum = [...endpoint].reduce((total, character) => total + character.charCodeAt(0), 0);
  return nameColours[sum % nameColours.length] ?? "green";
}

/** A text in a colour. What is in it is made harmless when it is printed, as any text is. */
export class Painted {
  constructor(
    readonly text: string,
    readonly colour: Colour,
  ) {}
}

/** A part of a line: a text, in a colour or not. */
export type Piece = string | Painted;

/** What paints a text where stdout is a terminal whose user wants colours, and leaves it as it is elsewhere. */
export function painter(): (text: string, colour: Colour) => Piece {
  const isColoured = process.stdout.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== "dumb";
  return (text, colour) => (isColoured ? new Painted(text, colour) : text);
}

/** The pieces of a line as a terminal takes them. */
export function safePieces(pieces: readonly Piece[]): string {
  const shown = (piece: Piece) =>
    piece instanceof Painted ? `\x1b[${colours[piece.colour]}m${safeText(piece.text)}\x1b[0m` : safeText(piece);
  return pieces.map(shown).join("");
}
