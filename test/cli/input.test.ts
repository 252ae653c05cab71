/** How commands read stdin: split into lines as other systems end them, in any chunks, and within limits. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { linesOf, wholeOf } from "../../src/cli/input.ts";
import { frameBytesMax } from "../../src/wire/frame.ts";

/** A stream of the given chunks. */
const streamOf = (chunks: readonly Uint8Array[]) =>
  new ReadableStream<Uint8Array>({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });

async function linesIn(chunks: readonly Uint8Array[]): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of linesOf(streamOf(chunks))) lines.push(Buffer.from(line).toString("latin1"));
  return lines;
}

const bytes = (text: string) => new Uint8Array(Buffer.from(text, "latin1"));

describe("lines from stdin", () => {
  test("include empty ones and an unterminated last one, and an empty input has none", async () => {
    expect(await linesIn([bytes("a\n\nb")])).toEqual(["a", "", "b"]);
    expect(await linesIn([bytes("a\n")])).toEqual(["a"]);
    expect(await linesIn([bytes("\n")])).toEqual([""]);
    expect(await linesIn([])).toEqual([]);
  });

  test("may end with CRLF, and the first may begin with a byte order mark", async () => {
    expect(await linesIn([bytes("a\r\n\r\nb\rc\r\nd\r")])).toEqual(["a", "", "b\rc", "d"]);
    expect(await linesIn([bytes("\xef\xbb\xbfa\n\xef\xbb\xbfb")])).toEqual(["a", "\xef\xbb\xbfb"]);
    expect(await linesIn([bytes("\xef"), bytes("\xbb\xbf"), bytes("a\r"), bytes("\n")])).toEqual(["a"]);
    expect(await linesIn([bytes("\xef\xbb\xbf")])).toEqual([""]);
  });

  test("are the same however the input is cut into chunks", async () => {
    const text = fc.string({ unit: fc.constantFrom("a", "\n", "\xff") });
    await fc.assert(
      fc.asyncProperty(fc.array(text), async (parts) => {
        const whole = parts.join("");
        const expected = whole.split("\n");
        if (expected.at(-1) === "") expected.pop();
        expect(await linesIn(parts.map(bytes))).toEqual(expected);
      }),
    );
  });

  test("up to one that is too large for a message are returned, and that one is refused", async () => {
    const half = new Uint8Array(frameBytesMax / 2 + 1).fill(0x61);
    const lines: number[] = [];
    const read = async () => {
      for await (const line of linesOf(streamOf([bytes("first\n"), half, half]))) lines.push(line.length);
    };
    await expect(read()).rejects.toMatchObject({ code: "too_large" });
    expect(lines).toEqual([5]);
  });
});

test("input read as a whole is limited in size", async () => {
  expect(await wholeOf(streamOf([bytes("a\n"), bytes("b")]), "it")).toEqual(bytes("a\nb"));
  const large = new Uint8Array(frameBytesMax + 1);
  await expect(wholeOf(streamOf([large]), "it")).rejects.toMatchObject({ code: "too_large" });
});
