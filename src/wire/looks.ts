/**
 * Looks: which handles a person cannot tell apart. A handle has two looks, and two handles look alike if they share
 * the first or the second: `bob` and `b0b`, `alice` and `aIice`, `René` composed and decomposed.
 *
 * Both ends compute them: the bus, to find the users that a handle names, and clients, to keep pins and to compare
 * owners with them. Stores keep the looks of their users together with `looksVersion`, and compute them again when
 * that differs.
 */
import { confusables, unicodeVersion } from "./confusables.ts";

/** Counts changes of this file that change looks while the Unicode data stays the same. */
const looksRevision = 1;

/** The version of the looks: of the Unicode data and of the functions here. */
export const looksVersion = `${unicodeVersion}-${looksRevision}`;

/** The two looks of a handle. */
export interface Looks {
  readonly look1: string;
  readonly look2: string;
}

const ignorable = /\p{Default_Ignorable_Code_Point}/gu;

/** The table, read at its first use: from a character to the text that stands for it. */
let prototypes: ReadonlyMap<string, string> | undefined;

function readTable(): ReadonlyMap<string, string> {
  const table = new Map<string, string>();
  let point = 0;
  for (const entry of confusables.split(",")) {
    const [step = "", prototype = ""] = entry.split(":");
    point += Number.parseInt(step, 36);
    const points = prototype.split(".").map((one) => Number.parseInt(one, 36));
    table.set(String.fromCodePoint(point), String.fromCodePoint(...points));
  }
  return table;
}

/** Folds case: `ß` becomes `ss`, `Σ` and `ς` become one letter. */
function fold(text: string): string {
  return text.toUpperCase().toLowerCase();
}

/**
 * The skeleton of a text in NFKC (UTS 39): each character replaced by the one that stands for all that look like it.
 * The table leaves out what NFKC has replaced already.
 */
export function skeleton(text: string): string {
  prototypes ??= readTable();
  let replaced = "";
  for (const character of text.normalize("NFD").replace(ignorable, "")) {
    replaced += prototypes.get(character) ?? character;
  }
  return replaced.normalize("NFD");
}

/**
 * The looks of a handle, as it is stored or as it is asked for.
 * Shape: any text; a handle that was checked has at most 64 characters, so that this takes microseconds.
 * Source: spec 7.
 */
export function looksOf(handle: string): Looks {
  const compatible = handle.normalize("NFKC").replace(ignorable, "");
  return { look1: fold(skeleton(fold(compatible))), look2: fold(skeleton(compatible)) };
}

/** Whether a person may take one of two handles for the other. */
export function lookAlike(one: string, other: string): boolean {
  const [a, b] = [looksOf(one), looksOf(other)];
  return a.look1 === b.look1 || a.look2 === b.look2;
}
