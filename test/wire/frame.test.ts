/**
 * The frame codec against an independent implementation: the Go program test/golden/go/frames wrote frames.json and
 * shares no code with this one. Covers encoding, decoding, rejected texts, and the texts to sign.
 * Source: docs/protocol/frames.md.
 */
import { describe, expect, test } from "bun:test";
import { blobBytesMax } from "../../src/wire/api.ts";
import { bytesOf, fromBase64, sha256Hex, toBase64, toHex } from "../../src/wire/encoding.ts";
import { hasCode } from "../../src/wire/errors.ts";
import {
  blobAad,
  blobRefText,
  decodeFrame,
  encodeFrame,
  type Frame,
  frameAad,
  frameBytesMax,
  frameSigningText,
  frameTypes,
  isDropped,
  parseBlobRef,
} from "../../src/wire/frame.ts";
import { natsPayloadBytesMax } from "../../src/wire/room-stream.ts";
import golden from "../golden/frames.json";
import { largeTexts } from "../support/hostile-frames.ts";
import { at, vectors } from "../support/vectors.ts";

/** A frame from Go's fields; a payload too long for the file is replaced by zeros of the same length. */
const frameOf = ({ frame, payload_bytes }: (typeof golden.frames)[number]): Frame =>
  ({ ...frame, ...(payload_bytes > 0 ? { p: toBase64(new Uint8Array(payload_bytes)) } : {}) }) as Frame;

const bytesIn = (text: string) => fromBase64(text) ?? new Uint8Array();
const decoded = (text: string) => decodeFrame(bytesOf(text));
const [publish, reaction] = [at(vectors.frame, 0), at(vectors.frame, 1)];
const text = new TextDecoder("utf-8", { ignoreBOM: true });

describe("a frame written by Go", () => {
  test.each(golden.frames)("is written identically by TypeScript: $name", (sample) => {
    const bytes = encodeFrame(frameOf(sample));
    if (sample.wire !== undefined) expect(text.decode(bytes)).toBe(sample.wire);
    expect(bytes.length).toBe(sample.wire_bytes);
    expect(sha256Hex(bytes)).toBe(sample.wire_sha256);
  });

  test.each(golden.frames)("is read correctly: $name", (sample) => {
    const frame = decodeFrame(sample.wire === undefined ? encodeFrame(frameOf(sample)) : bytesOf(sample.wire));
    expect(frame).toEqual(frameOf(sample));
    const { n, p, sig, b } = frame as Frame;
    const hex: Record<string, string> = {};
    for (const [key, value] of Object.entries({ n, p, sig, "b.n": b?.n })) {
      if (value !== undefined && !(key === "p" && sample.payload_bytes > 0)) hex[key] = toHex(bytesIn(value));
    }
    expect(hex).toEqual(sample.hex as Record<string, string>);
  });

  test("covers every type, every set of fields and the largest size", () => {
    const frames = golden.frames.map(frameOf);
    expect(new Set(frames.map(({ t }) => t))).toEqual(new Set(Object.values(frameTypes)));
    const optional = ["n", "p", "b", "sig", "thr", "re"] as const;
    expect(new Set(frames.map((frame) => optional.filter((key) => frame[key]).join())).size).toBe(64);
    expect(Math.max(...golden.frames.map(({ wire_bytes }) => wire_bytes))).toBe(frameBytesMax);
  });
});

/** What JSON.parse alone makes of a text, in the Go program's terms. */
function plainly(given: string): string {
  try {
    const { t, s, from, id, e, n, p, b, sig, thr, re } = JSON.parse(given) as Frame;
    return JSON.stringify({ t, s, from, id, e, n, p, b, sig, thr, re }) === given ? "keeps" : "changes";
  } catch {
    return "refuses";
  }
}

describe("an invalid frame", () => {
  test.each(golden.hostile)("is dropped: $name", ({ bytes }) => {
    const given = bytesIn(bytes);
    const isJson = (() => {
      try {
        JSON.parse(text.decode(given));
        return true;
      } catch {
        return false;
      }
    })();
    expect(decodeFrame(given)).toEqual({ drop: isJson ? "not_canonical" : "not_json" });
  });

  test("includes samples that Go and JavaScript read differently", () => {
    const differing = golden.hostile.filter((one) => plainly(text.decode(bytesIn(one.bytes))) !== one.go);
    const known = ["p: trailing bits", "subject: HTML", "p: empty", "b: null", "t 0.0", "e 1e0"];
    expect(differing.map(({ name }) => name)).toEqual(expect.arrayContaining(known));
  });

  test("above 1 MiB is not parsed", () => {
    const whole = bytesOf(publish.wire);
    const padded = (size: number) => new Uint8Array(size).fill(0x20).with(0, 0x7b);
    expect(decodeFrame(padded(frameBytesMax + 1))).toEqual({ drop: "too_large" });
    expect(decodeFrame(padded(frameBytesMax))).toEqual({ drop: "not_json" });
    expect(decodeFrame(new Uint8Array([...whole, ...new Uint8Array(frameBytesMax).fill(0x20)]))).toEqual({
      drop: "too_large",
    });
  });

  test("is dropped quickly at any length", () => {
    for (const given of largeTexts(publish.wire)) {
      expect(given.length).toBeLessThanOrEqual(frameBytesMax);
      expect(isDropped(decoded(given))).toBe(true);
    }
  });
});

describe("a frame outside the grammar", () => {
  const good = decoded(publish.wire) as Frame;

  test.each<[string, Partial<Frame>]>([
    ["a subject with a quote", { s: 'room."' }],
    ["a subject of one token", { s: "room" }],
    ["no epoch", { e: 0 }],
    ["an epoch that is not an integer", { e: 1.5 }],
    ["an epoch that is not a number", { e: Number.NaN }],
    ["an epoch that is too large", { e: 2 ** 31 }],
    ["an unknown type", { t: 7 as Frame["t"] }],
    ["an empty payload", { p: "" }],
    ["a payload that is not canonical", { p: "AB==" }],
    ["a short signature", { sig: "AAAA" }],
    ["an invalid id", { id: "x" }],
    ["a blob that is too large", { b: { h: "0".repeat(64), n: "A".repeat(32), sz: blobBytesMax + 1 } }],
  ])("is never written: %s", (_, change) => {
    expect(() => encodeFrame({ ...good, ...change })).toThrow(TypeError);
  });

  test("is reported as too large if its size is the only fault", () => {
    const payload = (size: number) => ({ ...good, p: toBase64(new Uint8Array(size)) });
    const rest = encodeFrame({ ...good, p: undefined }).length + ',"p":""'.length;
    const most = 3 * Math.floor((frameBytesMax - rest) / 4);
    expect(encodeFrame(payload(most)).length).toBeGreaterThan(frameBytesMax - 4);
    const tooLarge = (() => {
      try {
        return encodeFrame(payload(most + 1));
      } catch (error) {
        return error;
      }
    })();
    expect(hasCode(tooLarge, "too_large")).toBe(true);
  });

  test("is written with known keys only, in the fixed order", () => {
    const shuffled = { x: 1, re: good.re, ...good, b: { extra: 1, sz: good.b?.sz, n: good.b?.n, h: good.b?.h } };
    expect(text.decode(encodeFrame(shuffled as unknown as Frame))).toBe(publish.wire);
  });
});

describe("the signing text and AAD of a frame", () => {
  test("equal those of the vectors", () => {
    const [first, second] = [decoded(publish.wire), decoded(reaction.wire)] as [Frame, Frame];
    expect(frameAad(publish.room_id, first)).toBe(publish.aad ?? "");
    expect(frameSigningText(publish.room_id, first)).toBe(publish.signing_text);
    expect(frameSigningText(reaction.room_id, second)).toBe(reaction.signing_text);
    expect(blobAad(vectors.blob.room_id, vectors.blob.epoch)).toBe(vectors.blob.aad);
  });

  test("leave out the fields that they must not cover", () => {
    const frame = decoded(publish.wire) as Frame;
    expect(frameSigningText("r", frame)).not.toContain(frame.sig ?? "none");
    expect(frameAad("r", frame)).not.toContain(frame.p ?? "none");
    expect(frameAad("r", frame)).toBe(frameAad("r", { ...frame, p: undefined, sig: undefined }));
  });
});

describe("a blob reference", () => {
  const ref = { h: vectors.blob.h, n: toBase64(new Uint8Array(24)), sz: vectors.blob.sz };

  test("reads back from its text", () => {
    expect(parseBlobRef(blobRefText(ref))).toEqual(ref);
    expect(blobRefText(parseBlobRef(vectors.blob.ref) ?? ref)).toBe(vectors.blob.ref);
  });

  test.each(["", "{}", `${vectors.blob.ref} `, vectors.blob.ref.replace("21", "16777217"), "x".repeat(64)])(
    "is not %j",
    (given) => {
      expect(parseBlobRef(given)).toBeNull();
    },
  );
});

test("a frame of the maximum size passes through NATS", () => {
  expect(natsPayloadBytesMax).toBe(frameBytesMax + 65_536);
});
