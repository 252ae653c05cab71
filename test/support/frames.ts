/** Arbitrary frames for property tests, and mutations of their bytes. */
import fc from "fast-check";
import { blobBytesMax } from "../../src/wire/api.ts";
import { toBase64, toBase64Url, toHex } from "../../src/wire/encoding.ts";
import { type Frame, type FrameType, frameTypes } from "../../src/wire/frame.ts";
import { epochMax } from "../../src/wire/statement.ts";

const someBytes = (least: number, most = least) => fc.uint8Array({ minLength: least, maxLength: most });
const base64 = (least: number, most = least) => someBytes(least, most).map(toBase64);
const maybe = <T>(one: fc.Arbitrary<T>) => fc.option(one, { nil: undefined });

/** Any ULID. */
export const aUlid: fc.Arbitrary<string> = fc
  .tuple(
    fc.constantFrom(..."01234567"),
    fc.array(fc.constantFrom(..."0123456789ABCDEFGHJKMNPQRSTVWXYZ"), { minLength: 25, maxLength: 25 }),
  )
  .map(([first, rest]) => first + rest.join(""));

const letters = "ABCXYZabcxyz0189_-";
const aToken = fc.array(fc.constantFrom(...letters), { minLength: 1, maxLength: 12 }).map((all) => all.join(""));
const aSubject = fc.array(aToken, { minLength: 2, maxLength: 5 }).map((tokens) => tokens.join("."));
const aRef = fc.record({
  h: someBytes(32).map(toHex),
  n: base64(24),
  sz: fc.oneof(fc.nat(blobBytesMax), fc.constantFrom(0, blobBytesMax)),
});

/** Any frame; absent fields are undefined, as in a decoded frame. */
export const aFrame: fc.Arbitrary<Frame> = fc.record({
  t: fc.constantFrom(...(Object.values(frameTypes) as FrameType[])),
  s: aSubject,
  from: someBytes(32).map(toBase64Url),
  id: aUlid,
  e: fc.oneof(fc.integer({ min: 1, max: epochMax }), fc.constantFrom(1, epochMax)),
  n: maybe(base64(24)),
  p: maybe(base64(1, 300)),
  b: maybe(aRef),
  sig: maybe(base64(64)),
  thr: maybe(aUlid),
  re: maybe(aUlid),
});

/** A change of some bytes: it never returns them unchanged. */
export type Mutation = (bytes: Uint8Array) => Uint8Array;

const spliced = (bytes: Uint8Array, at: number, cut: number, put: Uint8Array): Uint8Array => {
  const place = at % (bytes.length + 1);
  return new Uint8Array([...bytes.subarray(0, place), ...put, ...bytes.subarray(place + cut)]);
};

const aPlace = fc.nat(4_000);

/** Any mutation: a flipped bit, a changed byte, a cut, an insertion, a repeated piece. */
export const aMutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.tuple(aPlace, fc.nat(7)).map(([at, bit]): Mutation => {
    return (bytes) => bytes.map((byte, i) => (i === at % bytes.length ? byte ^ (1 << bit) : byte));
  }),
  fc.tuple(aPlace, fc.nat(255)).map(([at, byte]): Mutation => {
    return (bytes) => spliced(bytes, at, 1, new Uint8Array([byte]));
  }),
  fc.tuple(aPlace, fc.integer({ min: 1, max: 40 })).map(([at, cut]): Mutation => {
    return (bytes) => spliced(bytes, at, cut, new Uint8Array());
  }),
  fc.tuple(aPlace, someBytes(1, 8)).map(
    ([at, put]): Mutation =>
      (bytes) =>
        spliced(bytes, at, 0, put),
  ),
  fc.tuple(aPlace, aPlace, fc.integer({ min: 1, max: 60 })).map(([from, to, size]): Mutation => {
    return (bytes) => spliced(bytes, to, 0, bytes.slice(from % bytes.length, (from % bytes.length) + size));
  }),
);
