/** The one-word text form of a blob reference: safe in a shell, lossless, and strict when read. */
import { expect, test } from "bun:test";
import { parseRefWord, refWord } from "../../src/cli/peer/blob-ref.ts";
import type { StoredBlob } from "../../src/client/index.ts";
import { blobBytesMax } from "../../src/wire/api.ts";
import { epochMax } from "../../src/wire/statement.ts";

const named: StoredBlob = {
  blob: {
    h: "ab".repeat(32),
    n: Buffer.from(Uint8Array.from({ length: 24 }, (_, i) => 255 - i)).toString("base64"),
    sz: 12,
  },
  epoch: 3,
};

test("a reference is one word without shell characters, and reads back unchanged", () => {
  const word = refWord(named);
  expect(word).toMatch(/^[A-Za-z0-9._-]+$/);
  expect(parseRefWord(word)).toEqual(named);
  const largest = { blob: { ...named.blob, sz: blobBytesMax }, epoch: epochMax };
  expect(parseRefWord(refWord(largest))).toEqual(largest);
});

test("anything else is not a reference", () => {
  const [h = "", n = "", sz = "", e = ""] = refWord(named).split(".");
  const wrong = [
    [h.toUpperCase(), n, sz, e],
    [h, n.slice(1), sz, e],
    [h, n, String(blobBytesMax + 1), e],
    [h, n, "012", e],
    [h, n, sz, "0"],
    [h, n, sz, String(epochMax + 1)],
    [h, n, sz],
    [h, n, sz, e, e],
  ];
  for (const parts of wrong) expect([parts.join("."), parseRefWord(parts.join("."))]).toEqual([parts.join("."), null]);
});
