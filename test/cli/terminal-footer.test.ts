/** The layout of the status line and the input line, for any text and any size of a terminal. */
import { describe, expect, test } from "bun:test";
import { cutToWidth, wrapped } from "../../src/cli/terminal-cells.ts";
import { footerRows } from "../../src/cli/terminal-footer.ts";
import { safePieces } from "../../src/cli/terminal-text.ts";

const paint = (text: string) => text;
const laidOut = (line: string, cursor = line.length, columns = 21, rows = 24) =>
  footerRows({ status: "all is well", paint, prompt: "> ", line, cursor }, { columns, rows });

describe("a footer", () => {
  test("has the status above the typed line, and the cursor behind it", () => {
    expect(laidOut("hello")).toEqual({ rows: ["all is well", "> hello"], row: 1, column: 7 });
  });

  test("has no status line if there is no status", () => {
    const content = { status: null, paint, prompt: "> ", line: "hi", cursor: 0 };
    expect(footerRows(content, { columns: 80, rows: 24 })).toEqual({ rows: ["> hi"], row: 0, column: 2 });
  });

  test("cuts a long status, and counts wide characters twice", () => {
    expect(cutToWidth("a".repeat(30), 10)).toBe(`${"a".repeat(9)}…`);
    expect(cutToWidth("漢字漢字漢字", 8)).toBe("漢字漢…");
    expect(cutToWidth("漢字", 4)).toBe("漢字");
    expect(cutToWidth("", 4)).toBe("");
  });

  test("breaks a long line before the last column, so that the terminal never wraps", () => {
    const { rows, row, column } = laidOut("x".repeat(40));
    expect(rows).toEqual(["all is well", `> ${"x".repeat(18)}`, "x".repeat(20), "xx"]);
    expect([row, column]).toEqual([3, 2]);
  });

  test("never splits a wide character or an emoji", () => {
    const family = "👨‍👩‍👧";
    const { rows, row, column } = laidOut(`${"x".repeat(17)}漢${family}`);
    expect(rows.slice(1)).toEqual([`> ${"x".repeat(17)}`, `漢${family}`]);
    expect([row, column]).toEqual([2, 4]);
  });

  test("shows the rows around the cursor of a line that is longer than the terminal", () => {
    const line = Array.from({ length: 400 }, (_, i) => String(i % 10)).join("");
    for (const cursor of [0, 1, 19, 200, 399, 400]) {
      const { rows, row, column } = laidOut(line, cursor, 21, 6);
      expect(rows.length).toBe(5);
      expect(row).toBeGreaterThanOrEqual(1);
      expect((rows[row] ?? "").length).toBeGreaterThanOrEqual(column);
      const next = (rows[row] ?? "").slice(column, column + 1) || (rows[row + 1] ?? "").slice(0, 1);
      expect(next).toBe(cursor === 400 ? "" : String(cursor % 10));
    }
  });

  test("escapes what could control the terminal, in the typed line, too", () => {
    const { rows } = footerRows(
      { status: "\x1b[2Jeve\u202e", paint, prompt: "> ", line: "\x1b[31m\u009b", cursor: 0 },
      { columns: 80, rows: 24 },
    );
    expect(rows).toEqual(["\\x1b[2Jeve\\u{202e}", "> \\x1b[31m\\x9b"]);
  });
});

describe("a long line", () => {
  const rows = (text: string, width = 20, indent = 4) =>
    wrapped([text], width, indent).map((row) => safePieces(row).trimEnd());

  test("is broken between words, and indented", () => {
    expect(rows("one two three four five six seven")).toEqual(["one two three four", "    five six seven"]);
    expect(rows("short")).toEqual(["short"]);
    expect(rows("")).toEqual([""]);
  });

  test("is broken anywhere if it has no spaces, and never wider than the terminal", () => {
    expect(rows("x".repeat(40))).toEqual(["x".repeat(20), `    ${"x".repeat(16)}`, "    xxxx"]);
    for (const width of [1, 2, 5, 9, 33]) {
      for (const row of rows(`漢字 👍 ${"wörter ".repeat(9)}`, width)) {
        expect(Bun.stringWidth(row)).toBeLessThanOrEqual(Math.max(width, 2));
      }
    }
  });

  test("cannot look like another line, however it is padded", () => {
    for (let width = 20; width < 100; width++) {
      const shown = rows(`hello${" ".repeat(width - 5)}  9 10:00:00  ana  forged`, width);
      expect(shown.slice(1).filter((row) => !row.startsWith("    "))).toEqual([]);
    }
  });

  test("keeps joiners that belong to a language, and escapes others", () => {
    expect(rows("می‌خواهم a\u200db")).toEqual(["می\\u{200c}خواهم", "    a\\u{200d}b"]);
    expect(rows("می‌خواهم")).toEqual(["می‌خواهم"]);
  });
});
