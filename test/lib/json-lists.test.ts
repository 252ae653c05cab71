/**
 * A streaming parser for an object of lists: it accepts what JSON.parse accepts, for any chunks, with bounded memory.
 */
import { describe, expect, test } from "bun:test";
import { JsonLists, JsonListsError } from "../../src/lib/json-lists.ts";

/** Parses the lists of a document that arrives in chunks of `pieceBytes`; returns them, or the error message. */
function read(text: string | Uint8Array, pieceBytes: number, elementBytesMax = 200): unknown {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  const lists = new JsonLists(["a", "b", "ü"], elementBytesMax);
  const found: Record<string, unknown[]> = {};
  try {
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      // Overwrite each chunk after use, as a socket reader may do.
      const piece = bytes.slice(at, at + pieceBytes);
      for (const { list, text } of lists.take(piece)) {
        found[list] ??= [];
        found[list].push(JSON.parse(text));
      }
      piece.fill(0);
    }
    lists.end();
    return found;
  } catch (error) {
    if (!(error instanceof JsonListsError)) throw error;
    return error.message;
  }
}

const documents: readonly [string, string][] = [
  ["empty", "{}"],
  ["of empty lists", ' { "a" : [ ] ,\n"b":[]}\t'],
  ["of two lists", '{"a":[{"x":1},{"y":[{}]}],"b":[{}]}'],
  ["whose strings look like its structure", String.raw`{"b":[{"x":"}],\"{\\"},{"\\\"":"\\\\"}],"a":[{"[":"{"}]}`],
  ["of non-ASCII characters", '{"ü":[{"🚌":"Zoë \u2028"}],"a":[{"x":"\\ud83d\\ude8c"}]}'],
];

describe("an object of lists", () => {
  test.each(documents)("%s is read as JSON.parse reads it, however it is split into chunks", (_, text) => {
    const wanted = Object.entries(JSON.parse(text) as Record<string, unknown[]>).filter(([, list]) => list.length > 0);
    for (const pieceBytes of [1, 2, 3, 5, 7, 16, 1_000]) {
      expect(read(text, pieceBytes)).toEqual(Object.fromEntries(wanted));
    }
  });

  const wrong: readonly [string, string, string][] = [
    ["nothing", "", "ends early"],
    ["a list", "[]", "is not an object of arrays of objects"],
    ["a list of numbers", '{"a":[1]}', "is not an object of arrays of objects"],
    ["an object instead of a list", '{"a":{}}', "is not an object of arrays of objects"],
    ["null instead of a list", '{"a":null}', "is not an object of arrays of objects"],
    ["a comma too many", '{"a":[{},]}', "is not an object of arrays of objects"],
    ["a trailing comma", '{"a":[],}', "is not an object of arrays of objects"],
    ["a missing comma", '{"a":[{}{}]}', "is not an object of arrays of objects"],
    ["an unknown key", '{"c":[]}', 'has an unknown field "c"'],
    ["a duplicate key", '{"a":[],"a":[]}', "has the field a twice"],
    ["half of itself", '{"a":[{}', "ends early"],
    ["an unterminated element", '{"a":[{"x":"}]}', "ends early"],
    ["trailing data", "{}{}", "is not an object of arrays of objects"],
    ["a long element", `{"a":[{"x":"${"x".repeat(200)}"}]}`, "has an element of more than 200 bytes"],
    ["a long name", `{"${"n".repeat(300)}":[]}`, "has an element of more than 200 bytes"],
  ];
  test.each(wrong)("that is %s is refused, however it is split into chunks", (_, text, why) => {
    for (const pieceBytes of [1, 3, 1_000]) expect(read(text, pieceBytes)).toBe(why);
  });

  test("that is not UTF-8 is refused", () => {
    const text = new TextEncoder().encode('{"a":[{"x":"y"}]}');
    text[12] = 0xff;
    for (const pieceBytes of [1, 100]) expect(read(text, pieceBytes)).toBe("is not UTF-8");
  });
});
