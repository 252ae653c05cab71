/** Strict hex and base64: each byte string has exactly one encoding, as signatures require. */
import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import fc from "fast-check";
import * as encoding from "../../src/wire/encoding.ts";
import { at, vectors } from "../support/vectors.ts";

const someBytes = fc.uint8Array({ maxLength: 80 });

describe("hex", () => {
  test("round trips and reads either case", () => {
    fc.assert(
      fc.property(someBytes, (bytes) => {
        const text = encoding.toHex(bytes);
        expect(text).toBe(Buffer.from(bytes).toString("hex"));
        expect(encoding.fromHex(text)).toEqual(bytes);
        expect(encoding.fromHex(text.toUpperCase())).toEqual(bytes);
      }),
    );
  });

  test.each(["0", "0g", " 00", "00\n", "0x00", "é0"])("%j is not hex", (text) => {
    expect(encoding.fromHex(text)).toBeNull();
  });
});

describe("base64", () => {
  test("round trips and equals the platform's", () => {
    fc.assert(
      fc.property(someBytes, (bytes) => {
        expect(encoding.toBase64(bytes)).toBe(Buffer.from(bytes).toString("base64"));
        expect(encoding.fromBase64(encoding.toBase64(bytes))).toEqual(bytes);
        expect(encoding.toBase64Url(bytes)).toBe(Buffer.from(bytes).toString("base64url"));
        expect(encoding.fromBase64Url(encoding.toBase64Url(bytes))).toEqual(bytes);
      }),
    );
  });

  test("has exactly one encoding for each byte string", () => {
    const text = fc.string({ unit: fc.constantFrom(..."AQgwzZ09+/-_= \n"), maxLength: 9 });
    fc.assert(
      fc.property(text, (given) => {
        const std = encoding.fromBase64(given);
        if (std !== null) expect(encoding.toBase64(std)).toBe(given);
        const url = encoding.fromBase64Url(given);
        if (url !== null) expect(encoding.toBase64Url(url)).toBe(given);
      }),
      { numRuns: 2_000 },
    );
  });

  test.each(["AA", "AAA", "A===", "AB==", "AAB=", "AA==\n", " AA==", "AA==AA==", "A-__", "AA=A", "=", "AAAAA"])(
    "%j is not canonical",
    (text) => {
      expect(encoding.fromBase64(text)).toBeNull();
    },
  );

  test.each(["AA==", "AB", "AAB", "A", "A+", "AA ", "AA\n"])("%j is not canonical for URLs", (text) => {
    expect(encoding.fromBase64Url(text)).toBeNull();
  });
});

describe("sha256Hex", () => {
  test("equals the platform's hash of bytes and of text", () => {
    fc.assert(
      fc.property(someBytes, fc.string({ unit: "binary" }), (bytes, text) => {
        expect(encoding.sha256Hex(bytes)).toBe(createHash("sha256").update(bytes).digest("hex"));
        expect(encoding.sha256Hex(text)).toBe(createHash("sha256").update(text, "utf8").digest("hex"));
      }),
    );
  });

  test("returns the body hashes of the vectors", () => {
    for (const request of vectors.control_request) expect(encoding.sha256Hex(request.body)).toBe(request.body_hash);
    expect(encoding.sha256Hex(at(vectors.room_statement, 0).text)).toBe(at(vectors.room_statement, 0).text_hash);
  });
});
