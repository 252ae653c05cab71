/**
 * The rules for handles (display names). The bus and the CLI commands on a data directory enforce them. Clients do not:
 * they only compare handles with `looks.ts`.
 */
import { UnibusError } from "./errors.ts";
import { hiddenReplacer } from "./hidden.ts";
import { handleLengthMax } from "./names.ts";

const trimmed = /^\p{Zs}+|\p{Zs}+$/gu;
const blank = /^[\p{White_Space}\u2800]*$/u;

const refused = "\\p{Cc}\\p{Cs}\\p{Cn}\\p{Zl}\\p{Zp}\\p{Bidi_Control}\\p{Default_Ignorable_Code_Point}\\ufff9-\\ufffb";
const replaceRefused = hiddenReplacer(refused);

/** Normalises a handle: NFC, without spaces at either end. The result may still be invalid. */
export function normalHandle(handle: string): string {
  return handle.normalize("NFC").replace(trimmed, "");
}

function kindOf(character: string): string {
  if (/\p{Cc}/u.test(character)) return "a control character";
  if (/\p{Bidi_Control}/u.test(character)) return "a character that changes the direction of text";
  return /[\p{Cn}\p{Cs}]/u.test(character) ? "not an assigned character" : "invisible";
}

/** Quotes a text for an error message, with every invisible character escaped as `\uXXXX`. */
function quoted(text: string): string {
  const written = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(text).replace(new RegExp(`[${refused}]`, "gu"), (one) => one.replace(/[\s\S]/g, written));
}

/**
 * Validates a handle and returns it in the normal form in which it is stored.
 * Errors: invalid, with the reason, if the handle is blank, too long, or contains a character that is invisible,
 * changes how text is displayed, or is unassigned. Source: docs/protocol/identity.md.
 */
export function checkHandle(given: string): string {
  return checkShownText("handle", given, handleLengthMax);
}

/**
 * Validates a text that people see as a name, by the rules of handles, and returns it in its normal form. `what` names
 * it in errors; `lengthMax` is in characters (code points). Errors: invalid, with the reason.
 */
export function checkShownText(what: string, given: string, lengthMax: number): string {
  const text = normalHandle(given);
  const refuse = (why: string, hint: string) => new UnibusError("invalid", `${what} ${quoted(given)} ${why} (${hint})`);
  if ([...text].length > lengthMax) {
    throw new UnibusError("invalid", `${what} has ${[...text].length} characters (use at most ${lengthMax})`);
  }
  if (blank.test(text)) throw refuse("is blank", `use 1 to ${lengthMax} characters`);
  let character: string | undefined;
  replaceRefused(text, (hidden) => {
    character ??= hidden;
    return hidden;
  });
  if (character === undefined) return text;
  const number = (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0");
  throw refuse(`contains U+${number}, which is ${kindOf(character)}`, "remove it");
}
