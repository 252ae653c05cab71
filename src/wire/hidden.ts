/**
 * Finds invisible characters and characters that change how text is displayed. Joiners and variation selectors count as
 * such, except in emoji and where IDNA allows joiners (RFC 5892, CONTEXTJ).
 */
import { joinsNext, joinsPrevious, transparent, viramas } from "./joining.ts";

/** Matches emoji with the joiners and variation selectors that belong to them. */
const emoji =
  "[0-9#*]\\ufe0f\\u20e3|\\p{ExtPict}(?:[\\ufe0e\\ufe0f]|\\p{EMod})?(?:\\u200d\\p{ExtPict}(?:[\\ufe0e\\ufe0f]|\\p{EMod})?)*";

/** Matches joiners that change how letters are written, in the places where they are allowed. */
const contextualJoiner =
  `(?<=[${viramas}])[\\u200c\\u200d]|` +
  `(?<=[${joinsNext}][${transparent}]*)\\u200c(?=[${transparent}]*[${joinsPrevious}])`;

/**
 * Creates a function that replaces each character of a class, unless it is in an allowed place.
 * Shape: `characters` is a regular expression character class for the `u` flag, without the brackets.
 */
export function hiddenReplacer(characters: string): (text: string, replace: (hidden: string) => string) => string {
  const some = new RegExp(`[${characters}]`, "u");
  const pattern = new RegExp(`${emoji}|${contextualJoiner}|([${characters}])`, "gu");
  return (text, replace) =>
    some.test(text)
      ? text.replace(pattern, (whole, hidden: string | undefined) => (hidden === undefined ? whole : replace(hidden)))
      : text;
}
