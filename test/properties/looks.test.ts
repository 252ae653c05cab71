/**
 * Handles and looks, with arbitrary input: equivalent spellings of a text have the same look.
 * Source: docs/protocol/identity.md.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { confusables } from "../../src/wire/confusables.ts";
import { hasCode } from "../../src/wire/errors.ts";
import { checkHandle } from "../../src/wire/handles.ts";
import { lookAlike, looksOf, skeleton } from "../../src/wire/looks.ts";

/** Characters that the table replaces, and their replacements. */
function tableCharacters(): string[] {
  let point = 0;
  return confusables.split(",").flatMap((entry) => {
    const [step = "", prototype = ""] = entry.split(":");
    point += Number.parseInt(step, 36);
    const points = [point, ...prototype.split(".").map((one) => Number.parseInt(one, 36))];
    return points.map((one) => String.fromCodePoint(one));
  });
}

const known = fc.constantFrom(...tableCharacters());
const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 éÉäßñőΣςσάΆёйЇ".split("");
const character = fc.oneof(
  known,
  fc.constantFrom(...letters),
  fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
);
const text = fc.array(character, { maxLength: 64 }).map((characters) => characters.join(""));

const stored = (given: string): string | null => {
  try {
    return checkHandle(given);
  } catch (error) {
    if (hasCode(error, "invalid")) return null;
    throw error;
  }
};

describe("looks", () => {
  test("do not depend on the normalization form of a text, or on its case", () => {
    // The one mark whose capital is a letter: it changes what follows, so case and composition do not commute.
    const iotaSubscript = /\u0345/;
    fc.assert(
      fc.property(text, (one) => {
        for (const other of [one.normalize("NFC"), one.normalize("NFD")]) expect(looksOf(other)).toEqual(looksOf(one));
        if (iotaSubscript.test(one.normalize("NFD"))) return;
        for (const other of [one.toUpperCase(), one.toLowerCase()]) {
          expect(looksOf(other.normalize("NFC")).look1).toBe(looksOf(one).look1);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test("are final: the skeleton of a skeleton is itself", () => {
    // The one entry of Unicode's table whose replacement decomposes into a letter that is itself replaced.
    const unfinished = /[Ҋҋ]/;
    fc.assert(
      fc.property(text, (one) => unfinished.test(one) || skeleton(skeleton(one)) === skeleton(one)),
      { numRuns: 2_000 },
    );
  });

  test("are equal for a text with and without invisible characters", () => {
    const hidden = fc.constantFrom("\u200b", "\u00ad", "\u3164", "\u200d", "\ufe0f", "\ufeff");
    fc.assert(
      fc.property(text, text, hidden, (one, other, invisible) => {
        fc.pre(`${one}${other}`.normalize("NFC") === `${one.normalize("NFC")}${other.normalize("NFC")}`);
        const both = { plain: one + other, hidden: one + invisible + other };
        expect(lookAlike(both.plain, both.hidden)).toBe(true);
        expect(lookAlike(both.hidden, both.plain)).toBe(true);
      }),
    );
  });
});

describe("handles", () => {
  test("are unchanged when stored again", () => {
    fc.assert(
      fc.property(text, (given) => {
        const handle = stored(given);
        fc.pre(handle !== null);
        expect(stored(handle ?? "")).toBe(handle);
        expect(handle).toBe(handle?.normalize("NFC") ?? null);
        expect([...(handle ?? "")].length).toBeLessThanOrEqual(64);
      }),
      { numRuns: 2_000 },
    );
  });
});
