/** Byte functions give the same results on every platform. */
import { expect, test } from "bun:test";
import { base32nopad, base64, base64urlnopad, hex } from "@scure/base";
import fc from "fast-check";
import { fromBase32, toBase32 } from "../../src/lib/base32.ts";
import * as browser from "../../src/wire/bytes-browser.ts";
import * as node from "../../src/wire/bytes-node.ts";
import { fromHex, toHex } from "../../src/wire/encoding.ts";

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

/** The browser's file as a browser has it that lacks the native base64 of byte arrays. */
const older: Pick<typeof browser, "encode" | "decode"> = {
  encode: (...given) => withoutNative(() => browser.encode(...given)),
  decode: (...given) => withoutNative(() => browser.decode(...given)),
};

function withoutNative<T>(work: () => T): T {
  const { fromBase64 } = Uint8Array as unknown as { fromBase64?: unknown };
  const { toBase64 } = Uint8Array.prototype as unknown as { toBase64?: unknown };
  Object.assign(Uint8Array, { fromBase64: undefined });
  Object.assign(Uint8Array.prototype, { toBase64: undefined });
  try {
    return work();
  } finally {
    Object.assign(Uint8Array, { fromBase64 });
    Object.assign(Uint8Array.prototype, { toBase64 });
  }
}

/** What another implementation decodes a text to, or null if it refuses. */
function decodedBy({ decode }: { readonly decode: (text: string) => Uint8Array }, text: string): Uint8Array | null {
  try {
    return decode(text);
  } catch {
    return null;
  }
}

const forms = [
  { form: "base64", alphabet: "AQgwzZ09+/-_= \n", of: base64, ...formOf(browser, "base64") },
  { form: "base64 in an older browser", alphabet: "AQgwzZ09+/-_= \n", of: base64, ...formOf(older, "base64") },
  { form: "base64url", alphabet: "AQgwzZ09+/-_=", of: base64urlnopad, ...formOf(browser, "base64url") },
  {
    ...{ form: "base64url in an older browser", alphabet: "AQgwzZ09+/-_=", of: base64urlnopad },
    ...formOf(older, "base64url"),
  },
  { form: "base32", alphabet: "AEIMQUYZ2357=189a ", of: base32nopad, encode: toBase32, decode: fromBase32 },
  { form: "hex", alphabet: "0189abcdefg ", of: hex, encode: toHex, decode: fromHex },
] as const;

function formOf(by: typeof older, form: "base64" | "base64url") {
  return {
    encode: (data: Uint8Array) => by.encode(data, form),
    decode: (text: string) => by.decode(text, form),
  };
}

test.each(forms)("$form is encoded and decoded as by @scure/base", ({ alphabet, of, encode, decode }) => {
  const text = fc.string({ unit: fc.constantFrom(...alphabet), maxLength: 12 });
  fc.assert(
    fc.property(someBytes, text, (bytes, text) => {
      expect(encode(bytes)).toBe(of.encode(bytes));
      expect(decode(encode(bytes))).toEqual(bytes);
      expect(decode(text)).toEqual(decodedBy(of, text));
    }),
    { numRuns: 3_000 },
  );
});

test("a megabyte is encoded and decoded in a browser", () => {
  const bytes = Uint8Array.from({ length: 1_048_576 + 1 }, (_, at) => (at * 7) % 251);
  const text = node.encode(bytes, "base64");
  for (const { encode, decode } of [browser, older]) {
    expect(encode(bytes, "base64")).toBe(text);
    expect(Buffer.compare(decode(text, "base64") ?? new Uint8Array(), bytes)).toBe(0);
  }
});
