import { expect, test } from "bun:test";
import fc from "fast-check";
import { piecesOf } from "../../src/lib/pieces.ts";

async function* each(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

test("the pieces of any chunks are full except for the last one, and joined they are the content", async () => {
  const chunks = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(chunks, fc.integer({ min: 1, max: 50 }), async (given, size) => {
      const pieces: Buffer[] = [];
      // Each piece is valid until the next one is requested, so it is copied.
      for await (const piece of piecesOf(each(given), size)) pieces.push(Buffer.from(piece));
      expect(Buffer.concat(pieces)).toEqual(Buffer.concat(given));
      expect(pieces.slice(0, -1).every(({ length }) => length === size)).toBe(true);
      expect(pieces.every(({ length }) => length > 0 && length <= size)).toBe(true);
    }),
  );
});
