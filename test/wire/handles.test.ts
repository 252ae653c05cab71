/**
 * Handles: their normalization, length and characters. A handle must not hide or impersonate anything.
 * Source: docs/protocol/identity.md.
 */
import { describe, expect, test } from "bun:test";
import { hasCode } from "../../src/wire/errors.ts";
import { checkHandle } from "../../src/wire/handles.ts";
import { handleLengthMax } from "../../src/wire/names.ts";
import { handleCases } from "../support/handle-cases.ts";

/** The stored form of a handle, or null if it is refused. */
const outcome = (given: string): string | null => {
  try {
    return checkHandle(given);
  } catch (error) {
    if (hasCode(error, "invalid")) return null;
    throw error;
  }
};

const messageOf = (given: string): string => {
  try {
    checkHandle(given);
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error("nothing was refused");
};

describe("a handle", () => {
  test.each(handleCases.map((one) => [one.name, one] as const))("%s", (_, { given, stored }) => {
    expect(outcome(given)).toBe(stored);
  });

  test("has up to 64 characters, however many UTF-16 units they take", () => {
    expect(outcome("🦊".repeat(handleLengthMax))).toBe("🦊".repeat(handleLengthMax));
    expect(outcome("e\u0301".repeat(handleLengthMax))).toBe("é".repeat(handleLengthMax));
    expect(outcome("🦊".repeat(handleLengthMax + 1))).toBeNull();
  });

  test("keeps joiners and variation selectors where they belong, and nowhere else", () => {
    const fine = [
      "❤\ufe0f",
      "1\ufe0f\u20e3",
      "🏳\ufe0f\u200d🌈",
      "👍🏽",
      "🇩🇪",
      "🏴\u200d☠\ufe0f",
      "क्\u200dष",
      "ن\u200cا",
    ];
    expect(fine.map(outcome)).toEqual(fine.map((one) => one.normalize("NFC")));
    const wrong = [
      "a\u200db",
      "a\ufe0f",
      "1\ufe0f",
      "\u200d🦊",
      "🦊\u200d",
      "a\u200c",
      "ا\u200cن",
      "🦊\ufe01",
      "👩\u200da",
    ];
    expect(wrong.map(outcome)).toEqual(wrong.map(() => null));
  });

  test("contains no invisible, control or unassigned characters", () => {
    const every = ["\u0000", "\u001b", "\u007f", "\u0080", "\u009f", "\u200e", "\u061c", "\u2028", "\u2029", "\u2060"];
    const more = [
      "\u2066",
      "\u2069",
      "\u115f",
      "\u034f",
      "\u180e",
      "\u{e0041}",
      "\ufff9",
      "\ud800",
      "\uffff",
      "\u0378",
    ];
    for (const one of [...every, ...more]) expect([one, outcome(`a${one}b`)]).toEqual([one, null]);
    expect(["\u00a0", "\u3000\u2000", "\u2800", ""].map(outcome)).toEqual([null, null, null, null]);
  });

  test("that is refused is quoted with its invisible characters escaped", () => {
    expect(messageOf("bob\u200b")).toBe('handle "bob\\u200b" contains U+200B, which is invisible (remove it)');
    expect(messageOf("\u202egpj.exe")).toContain("changes the direction of text");
    expect(messageOf("a\u009b")).toBe('handle "a\\u009b" contains U+009B, which is a control character (remove it)');
    expect(messageOf("a".repeat(65))).toBe("handle has 65 characters (use at most 64)");
  });
});
