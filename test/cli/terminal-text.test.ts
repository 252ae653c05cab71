/**
 * Text written by others is escaped before it reaches a terminal, so that it cannot control it. JSON output stays
 * lossless.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { colourOf, safeJson, safeLines, safeText } from "../../src/cli/terminal-text.ts";

/** Characters that a terminal obeys or hides: controls (including C1), direction marks, separators. */
const steering = /[\p{Cc}\p{Zl}\p{Zp}\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/u;

describe("text written by others", () => {
  test("has its control characters escaped", () => {
    expect(safeText("\x1b[31mred\x07\r\n\ttab\x7f\u009b")).toBe("\\x1b[31mred\\x07\\r\\n\\ttab\\x7f\\x9b");
    expect(safeText("\u202egnp.exe\u2028\ufeff")).toBe("\\u{202e}gnp.exe\\u{2028}\\u{feff}");
    expect(safeLines("one\n\ttwo\x1b[2J")).toBe("one\n\ttwo\\x1b[2J");
  });

  test("keeps words of all languages and joined emoji unchanged", () => {
    const fine = "Grüße, 你好, مرحبا, 👩‍👩‍👧 \\x1b";
    expect([safeText(fine), safeLines(fine)]).toEqual([fine, fine]);
    expect(safeJson(fine)).toBe(JSON.stringify(fine));
  });

  test("cannot add colours, and JSON reads back unchanged", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(safeText(text)).not.toMatch(steering);
        expect(safeJson({ text })).not.toMatch(steering);
        expect(JSON.parse(safeJson({ text }))).toEqual({ text });
      }),
    );
  });
});

test("a peer has one colour", () => {
  expect(colourOf("On49ZFFjluEY0HLGu1Qob9Wkf9heqzrZBV6BG1OBbYk")).toBe(
    colourOf("On49ZFFjluEY0HLGu1Qob9Wkf9heqzrZBV6BG1OBbYk"),
  );
  const many = Array.from({ length: 50 }, (_, i) => colourOf(`${i}`));
  expect(new Set(many).size).toBeGreaterThan(3);
});
