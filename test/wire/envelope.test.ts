/** The envelope: valid payloads decode to the fields of the vectors, and others that begin like one are dropped. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { bytesOf, toHex } from "../../src/wire/encoding.ts";
import {
  contentOf,
  decodeEnvelope,
  type EnvelopeHeader,
  encodeEnvelope,
  envelopeMagic,
  payloadOf,
} from "../../src/wire/envelope.ts";
import { frameTypes, isDropped } from "../../src/wire/frame.ts";
import { allVectors, bytes } from "../support/vectors.ts";

const magic = Uint8Array.from(envelopeMagic);
const hello = bytesOf("hello");

function decoded(payload: Uint8Array) {
  const content = decodeEnvelope(payload);
  if (isDropped(content)) throw new Error(`dropped: ${content.fault}`);
  return content;
}

/** An envelope with these header bytes. */
const withHeader = (header: readonly number[]) =>
  Uint8Array.from([...magic, header.length >> 8, header.length & 255, ...header, ...hello]);

describe("a valid payload", () => {
  test.each([...allVectors.envelope, ...allVectors.envelope_extra])(
    "$name decodes to the fields of the vectors",
    (vector) => {
      const type = "type" in vector ? frameTypes.REACT : frameTypes.PUB;
      const content = contentOf(type, bytes(vector.payload));
      if (isDropped(content)) throw new Error(content.fault);
      expect({ kind: content.kind as string, body: toHex(content.body) }).toEqual({
        kind: vector.kind,
        body: vector.body,
      });
      if (vector.bare) expect(content.header).toEqual({});
      else expect(toHex(encodeEnvelope(content.header, content.body))).toBe(vector.payload);
    },
  );

  test("has exactly one encoding: what decodes encodes to the same bytes", () => {
    const field = fc.tuple(fc.integer({ min: 0, max: 255 }), fc.uint8Array({ maxLength: 30 }));
    const header = fc.array(field, { maxLength: 6 }).map((list) => {
      const sorted = list.sort(([one], [other]) => one - other);
      return sorted.flatMap(([tag, value]) => [tag, 0, value.length, ...value]);
    });
    fc.assert(
      fc.property(header, (given) => {
        const payload = withHeader(given);
        const content = decodeEnvelope(payload);
        if (!isDropped(content)) expect(encodeEnvelope(content.header, content.body)).toEqual(payload);
      }),
      { numRuns: 2_000 },
    );
  });

  test("with an unknown tag of 128 or above, or of an unknown kind, is unsupported, and keeps its body", () => {
    for (const header of [
      [128, 0, 0],
      [255, 0, 1, 7],
      [1, 0, 4, ...bytesOf("poll")],
      [1, 0, 3, ...bytesOf("app")],
    ]) {
      expect(decoded(withHeader(header))).toMatchObject({ kind: "unsupported", body: hello });
    }
    for (const tag of [9, 127]) expect(decoded(withHeader([tag, 0, 1, 7])).kind).toBe("text");
    expect(decoded(withHeader([129, 0, 12, ...new Uint8Array(12)])).kind).toBe("text");
  });

  test("a header of exactly 1,024 bytes is read, one of 1,025 is not", () => {
    const filler = (length: number) => [99, (length - 3) >> 8, (length - 3) & 255, ...new Uint8Array(length - 3)];
    expect(decoded(withHeader(filler(1_024))).body).toEqual(hello);
    expect(decodeEnvelope(withHeader(filler(1_025)))).toEqual({ drop: "bad_envelope", fault: "header-too-long" });
  });
});

describe("an invalid payload", () => {
  test.each(allVectors.envelope_bad)("$name is dropped as bad_envelope", ({ payload, reason }) => {
    expect(decodeEnvelope(bytes(payload)) as unknown).toEqual({ drop: "bad_envelope", fault: reason });
  });

  test("cut anywhere in its header is dropped as bad_envelope, and never throws", () => {
    const whole = encodeEnvelope({ kind: "file", fileName: "a.txt", hops: 1 }, new Uint8Array());
    for (let length = magic.length; length < whole.length; length++) {
      expect(decodeEnvelope(whole.subarray(0, length))).toMatchObject({ drop: "bad_envelope" });
    }
  });

  test.each(["a/b", "..", ".", "a\\b", "a\u202etxt.exe", "\u061c", "\u200e", "\u2066x", "a\u0000", "\u007f", ""])(
    "a file name that could be a path is refused, or that shows another name: %j",
    (name) => {
      const value = bytesOf(name);
      expect(decodeEnvelope(withHeader([3, 0, value.length, ...value]))).toMatchObject({ fault: "file-name" });
      expect(() => encodeEnvelope({ fileName: name }, hello)).toThrow("is not a valid fileName of a message");
    },
  );

  test.each(["\u00a0", "...", "a b", "日本.txt", "👍🏽.png", "‍x", "\ufeffa"])("the file name %j is allowed", (name) => {
    expect(decoded(encodeEnvelope({ fileName: name }, hello)).header.fileName).toBe(name);
  });
});

describe("a sender", () => {
  test("sends a text bare; one that begins with the magic is wrapped, so that it reads as it was written", () => {
    expect(payloadOf(frameTypes.PUB, {}, hello)).toBe(hello);
    const hostile = Uint8Array.from([...magic, ...hello]);
    const wrapped = payloadOf(frameTypes.PUB, {}, hostile);
    expect(decoded(wrapped)).toEqual({ kind: "text", header: {}, body: hostile });
    expect(payloadOf(frameTypes.KICK, {}, hostile)).toBe(hostile);
  });

  test.each([
    [{ kind: "Text" }, '"Text" is not a valid kind'],
    [{ kind: "" }, '"" is not a valid kind'],
    [{ mediaType: "é" }, '"é" is not a valid mediaType'],
    [{ hops: 9 }, "9 is not a valid hops"],
    [{ hops: 256 }, "256 is not a valid hops"],
    [{ hops: 0.5 }, "0.5 is not a valid hops"],
    [{ void: [] }, "is not a valid void"],
    [{ void: [2 ** 32] }, "is not a valid void"],
    [{ heads: [] }, "is not a valid heads"],
    [{ chain: { id: "00", n: 0, hash: "" } }, "is not a valid chain"],
    [{ statement: { version: -1, hash: "0".repeat(32) } }, "is not a valid statement"],
    [{ parts: { size: 2n ** 64n, count: 1 } }, "is not a valid parts"],
    [{ unknown: [{ tag: 0, value: hello }] }, "is not a valid header"],
    [{ kind: "text", unknown: [{ tag: 1, value: hello }] }, "is not a valid header"],
  ] as readonly (readonly [EnvelopeHeader, string])[])("cannot send a header: case %#", (header, message) => {
    expect(() => encodeEnvelope(header, hello)).toThrow(message);
  });

  test("a body that its kind does not allow is decoded all the same", () => {
    const junk = new Uint8Array(99).fill(0xff);
    for (const kind of ["delete", "pin", "title", "react"]) {
      expect(decoded(encodeEnvelope({ kind }, junk))).toEqual({ kind, header: { kind }, body: junk } as never);
    }
  });
});

test("the type of a frame decides: 1 to 5 have no envelope, and a bare reaction is a reaction", () => {
  const wrapped = encodeEnvelope({ kind: "edit" }, hello);
  expect(contentOf(frameTypes.KICK, wrapped)).toEqual({ kind: "kick", header: {}, body: wrapped });
  expect(contentOf(frameTypes.REACT, hello)).toEqual({ kind: "react", header: {}, body: hello });
  expect(contentOf(frameTypes.REACT, encodeEnvelope({ kind: "react" }, hello))).toMatchObject({ kind: "react" });
  expect(contentOf(frameTypes.REACT, magic)).toMatchObject({ drop: "bad_envelope" });
  expect(contentOf(frameTypes.PUB, hello)).toMatchObject({ kind: "text" });
});
