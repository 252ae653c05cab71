/** Properties of frames with arbitrary contents and arbitrarily changed bytes. Source: docs/protocol/frames.md. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { blobBytesMax } from "../../src/wire/api.ts";
import { bytesOf, fromBase64, toBase64 } from "../../src/wire/encoding.ts";
import { decodeFrame, encodeFrame, type Frame, frameAad, frameSigningText, isDropped } from "../../src/wire/frame.ts";
import { endpointPattern, ulidPattern } from "../../src/wire/names.ts";
import { epochMax } from "../../src/wire/statement.ts";
import { aFrame, aMutation } from "../support/frames.ts";

const text = new TextDecoder("utf-8", { ignoreBOM: true });

test("a frame reads back from its bytes unchanged", () => {
  fc.assert(fc.property(aFrame, (frame) => expect(decodeFrame(encodeFrame(frame))).toEqual(frame)));
});

/** A reference decoder: JSON.parse and one rule per field. Slow, and independent of the product's code. */
function readSlowly(bytes: Uint8Array): Frame | null {
  const given = text.decode(bytes);
  if (bytes.some((byte) => byte > 126 || byte < 33)) return null;
  let json: unknown;
  try {
    json = JSON.parse(given);
  } catch {
    return null;
  }
  if (typeof json !== "object" || json === null) return null;
  const { t, s, from, id, e, n, p, b, sig, thr, re } = json as Frame;
  const ref = b && { h: b.h, n: b.n, sz: b.sz };
  if (JSON.stringify({ t, s, from, id, e, n, p, b: ref, sig, thr, re }) !== given) return null;
  const isIn = (value: unknown, least: number, most: number) =>
    Number.isInteger(value) && Number(value) >= least && Number(value) <= most;
  const fits = (value: unknown, pattern: string) => typeof value === "string" && new RegExp(pattern).test(value);
  const isBase64 = (value: unknown, size?: number) => {
    const found = typeof value === "string" ? fromBase64(value) : null;
    return found !== null && found.length > 0 && (size === undefined || found.length === size);
  };
  const optional = (value: unknown, holds: (value: unknown) => boolean) => value === undefined || holds(value);
  const isRef = () => fits(ref?.h, "^[0-9a-f]{64}$") && isBase64(ref?.n, 24) && isIn(ref?.sz, 0, blobBytesMax);
  const isFrame =
    isIn(t, 0, 6) &&
    fits(s, "^(?=.{1,200}$)[A-Za-z0-9_-]+([.][A-Za-z0-9_-]+)+$") &&
    fits(from, endpointPattern) &&
    fits(id, ulidPattern) &&
    isIn(e, 1, epochMax) &&
    optional(n, (value) => isBase64(value, 24)) &&
    optional(p, (value) => isBase64(value)) &&
    optional(b, isRef) &&
    optional(sig, (value) => isBase64(value, 64)) &&
    [thr, re].every((value) => optional(value, (one) => fits(one, ulidPattern)));
  return isFrame ? (json as Frame) : null;
}

describe("a tampered frame", () => {
  test("is dropped, or its bytes are exactly those of the frame that it reads as", () => {
    let read = 0;
    const given = fc.tuple(aFrame, fc.array(aMutation, { minLength: 1, maxLength: 3 }));
    fc.assert(
      fc.property(given, ([frame, changes]) => {
        const bytes = changes.reduce((before, change) => change(before), encodeFrame(frame));
        const found = decodeFrame(bytes);
        const expected = readSlowly(bytes);
        if (isDropped(found)) return void expect(expected).toBeNull();
        read += 1;
        expect(found).toEqual(expected as Frame);
        expect(encodeFrame(found)).toEqual(bytes);
      }),
      { numRuns: 3_000 },
    );
    // Some changes must yield another valid frame; otherwise a decoder that rejects everything would pass.
    expect(read).toBeGreaterThan(30);
  });

  test("is read the same way by a slower reference parser, if it is nearly valid", () => {
    const chunk = fc.constantFrom(
      "=",
      "A",
      "/w==",
      '","',
      '"p":"',
      "e",
      "0",
      "1",
      "7",
      ".",
      "Z",
      "{",
      "}",
      "\\u0041",
      " ",
    );
    fc.assert(
      fc.property(aFrame, fc.nat(), fc.nat(4), chunk, (frame, at, cut, put) => {
        const whole = text.decode(encodeFrame(frame));
        const place = at % whole.length;
        const bytes = bytesOf(whole.slice(0, place) + put + whole.slice(place + cut));
        const found = decodeFrame(bytes);
        expect(isDropped(found) ? null : found).toEqual(readSlowly(bytes));
      }),
      { numRuns: 3_000 },
    );
  });
});

test("two frames that differ in any field have different signing texts and AADs", () => {
  fc.assert(
    fc.property(aFrame, aFrame, (one, other) => {
      const signs = frameSigningText("r", one) === frameSigningText("r", other);
      const isSame =
        toBase64(encodeFrame({ ...one, sig: undefined })) === toBase64(encodeFrame({ ...other, sig: undefined }));
      expect(signs).toBe(isSame);
      expect(frameSigningText("r", one)).not.toBe(frameSigningText("q", one));
      expect(frameAad("r", one)).not.toBe(frameAad("q", one));
    }),
  );
  fc.assert(
    fc.property(
      aFrame,
      fc.constantFrom("t", "s", "from", "id", "e", "n", "b", "thr", "re"),
      aFrame,
      (one, key, other) => {
        fc.pre(JSON.stringify(one[key as keyof Frame]) !== JSON.stringify(other[key as keyof Frame]));
        const changed = { ...one, [key]: other[key as keyof Frame] };
        expect(frameAad("r", changed)).not.toBe(frameAad("r", one));
        expect(frameSigningText("r", changed)).not.toBe(frameSigningText("r", one));
      },
    ),
  );
});
