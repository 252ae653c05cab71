/** Byte functions give the same results on every platform. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import * as browser from "../../src/wire/bytes-browser.ts";
import * as node from "../../src/wire/bytes-node.ts";

const someBytes = fc.uint8Array({ maxLength: 300 });
const form = fc.constantFrom("base64" as const, "base64url" as const);

test("Node and the browser compute the same hashes and encodings, and return plain byte arrays", () => {
  fc.assert(
    fc.property(someBytes, form, (bytes, form) => {
      expect(node.sha256(bytes)).toEqual(browser.sha256(bytes));
      const text = node.encode(bytes, form);
      expect(browser.encode(bytes, form)).toBe(text);
      for (const { decode } of [node, browser]) expect(decode(text, form)).toEqual(bytes);
      expect(Object.getPrototypeOf(node.decode(text, form))).toBe(Uint8Array.prototype);
    }),
  );
});

test("a view into a larger buffer is read exactly", () => {
  const part = new Uint8Array([1, 2, 3, 4, 5, 6]).subarray(2, 4);
  expect(node.encode(part, "base64")).toBe("AwQ=");
  expect(node.sha256(part)).toEqual(browser.sha256(new Uint8Array([3, 4])));
});

test("Node and the browser reject the same encodings", () => {
  const text = fc.string({ unit: fc.constantFrom(..."AQgwzZ09+/-_="), maxLength: 9 });
  fc.assert(
    fc.property(text, form, (text, form) => {
      expect(node.decode(text, form)).toEqual(browser.decode(text, form));
    }),
    { numRuns: 5_000 },
  );
});
