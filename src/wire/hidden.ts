/**
 * Characters that a person does not see, or that steer what shows them. Joiners and variation selectors are among them,
 * and yet belong into emoji, and where IDNA lets joiners stand (RFC 5892, CONTEXTJ): those are left alone.
 */
import { joinsNext, joinsPrevious, transparent, viramas } from "./joining.ts";

/** Emoji with the joiners and variation selectors that belong to them. */
const emoji =
  "[0-9#*]\\ufe0f\\u20e3|\\p{ExtPict}(?:[\\ufe0e\\ufe0f]|\\p{EMod})?(?:\\u200d\\p{ExtPict}(?:[\\ufe0e\\ufe0f]|\\p{EMod})?)*";

/** Joiners that change how letters are written, in their place. */
const contextualJoiner =
  `(?<=[${viramas}])[\\u200c\\u200d]|` +
  `(?<=[${joinsNext}][${transparent}]*)\\u200c(?=[${transparent}]*[${joinsPrevious}])`;

/**
 * Makes what replaces each character of a class that is out of its place.
 * Shape: `characters` is a class of a regular expression with flag `u`, without brackets.
 */
export function hiddenReplacer(characters: string): (text: string, replace: (hidden: string) => string) => string {
  const some = new RegExp(`[${characters}]`, "u");
  const pattern = new RegExp(`${emoji}|${contextualJoiner}|([${characters}])`, "gu");
  return (text, replace) =>
    some.test(text)
      ? text.replace(pattern, (whole, hidden: string | undefined) => (hidden === undefined ? whole : replace(hidden)))
      : text;
}
