/**
 * What steers a terminal, reverses text or hides in it: controls, formats, line and paragraph separators. The joiner of
 * emoji alone is let through.
 */
const steering = /(?!\u200d)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

const named: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

function escaped(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  const hex = code.toString(16);
  return named[character] ?? (code < 0x100 ? `\\x${hex.padStart(2, "0")}` : `\\u{${hex}}`);
}

/** A text of somebody else in one line that shows what is in it and paints nothing: `\x1b` for an escape. */
export function safeText(text: string): string {
  return text.replace(steering, escaped);
}

/** JSON of anything in one line that paints nothing on a terminal, and reads back as the same value. */
export function safeJson(value: unknown): string {
  const unitEscape = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(value).replace(steering, (character) => character.replace(/[\s\S]/g, unitEscape));
}

/** A text of somebody else as data for a terminal: line ends and tabs stay. */
export function safeLines(text: string): string {
  return text.replace(steering, (character) =>
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

/** What paints a text where stdout is a terminal whose user wants colours, and leaves it as it is elsewhere. */
export function painter(): (text: string, colour: Colour) => string {
  const isColoured = process.stdout.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== "dumb";
  return (text, colour) => (isColoured ? `\x1b[${colours[colour]}m${text}\x1b[0m` : text);
}
