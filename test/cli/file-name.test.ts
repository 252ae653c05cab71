/** The name under which a file of another member is stored: never a path, never hidden, never an option. */
import { expect, test } from "bun:test";
import { savedName } from "../../src/cli/peer/file-name.ts";

const id = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

test.each([
  ["report.pdf", "report.pdf"],
  ["日本 2.txt", "日本 2.txt"],
  ["archive.tar.gz", "archive.tar.gz"],
  ["../../etc/passwd", "_.._etc_passwd"],
  [".bashrc", "bashrc"],
  ["...", `file-${id}`],
  ["-rf", "rf"],
  [" . - x", "x"],
  ["a\\b:c", "a_b_c"],
  ["line\nbreak\u202e\u200b\ufeff", "line_break___"],
  ["CON", "_CON"],
  ["lpt1.txt", "_lpt1.txt"],
  ["console.log", "console.log"],
  ["trailing. .", "trailing"],
  ["cafe\u0301", "café"],
  ["", `file-${id}`],
  [null, `file-${id}`],
])("%j becomes %j", (name, expected) => {
  expect(savedName(name, id)).toBe(expected);
});

test("a long name keeps its extension, and has at most 255 bytes", () => {
  const name = savedName(`${"é".repeat(200)}.jpeg`, id);
  expect([Buffer.byteLength(name) <= 255, name.endsWith("é.jpeg")]).toEqual([true, true]);
});
