/**
 * Looks: the forms by which handles that a person cannot tell apart are compared. A handle has two looks, and two
 * handles look alike if they share the first or the second: `bob` and `b0b`, `alice` and `aIice`, `René` composed and
 * decomposed.
 *
 * The bus computes looks to find the users that match a handle. Clients compute them to keep pins and to compare owners
 * with them. Stores index the looks of their users together with `looksVersion`, and recompute them when it differs.
 */
import { confusables, unicodeVersion } from "./confusables.ts";

/** Bump this when a change in this file changes looks while the Unicode data stays the same. */
const looksRevision = 1;

/** The version of the looks: the Unicode version and the revision of this code. */
export const looksVersion = `${unicodeVersion}-${looksRevision}`;

/** The two looks of a handle. */
export interface Looks {
  readonly look1: string;
  readonly look2: string;
}

const ignorable = /\p{Default_Ignorable_Code_Point}/gu;

/** The confusables table, parsed on first use: maps a character to its prototype. */
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
 * The skeleton of a text in NFKC (UTS 39): each character is replaced by the prototype of all characters that look like
 * it. The table omits characters that NFKC has already replaced.
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
 * Computes the looks of a handle, whether stored or searched for.
 * Shape: any text. A valid handle has at most 64 characters, so this takes microseconds.
 * Source: docs/protocol/identity.md.
 */
export function looksOf(handle: string): Looks {
  const compatible = handle.normalize("NFKC").replace(ignorable, "");
  return { look1: fold(skeleton(fold(compatible))), look2: fold(skeleton(compatible)) };
}

/** Reports whether a person may mistake one of two handles for the other. */
export function lookAlike(one: string, other: string): boolean {
  const [a, b] = [looksOf(one), looksOf(other)];
  return a.look1 === b.look1 || a.look2 === b.look2;
}
