/** Payloads that are, or nearly are, envelopes, and what each one says, as the peers in Go and Python print it. */
import fc from "fast-check";
import type { ChainEntry } from "../../src/wire/chain-entry.ts";
import { bytesOf, toHex } from "../../src/wire/encoding.ts";
import { decodeEnvelope, type EnvelopeHeader, envelopeMagic } from "../../src/wire/envelope.ts";
import { isDropped } from "../../src/wire/frame.ts";

/** Pieces of file names: separators, controls, and characters that normalization changes. All of them are old. */
const namePieces = fc.constantFrom(
  ...["a", "A.txt", ".", "..", "/", "\\", " ", "\0", "\n", "\u001f", "\u007f", "\u0085", "\u009f", "\u00a0"],
  ...[
    "é",
    "e\u0301",
    "\u0301",
    "\u0327\u0301",
    "\u212b",
    "Å",
    "\u1e9b\u0323",
    "\u0344",
    "\u0340",
    "ﬁ",
    "ﷺ",
    "豈",
    "가",
  ],
  ...[
    "\u1100\u1161",
    "\u1100",
    "각",
    "\u11a8",
    "\u0958",
    "क\u093c",
    "𝅗𝅥",
    "👍🏽",
    "👩\u200d💻",
    "\u200d",
    "\ufeff",
    "\uffff",
  ],
  ...["\u061b", "\u061c", "\u200d", "\u200e", "\u200f", "\u2010", "\u2029", "\u202a", "\u202e", "\u202f", "\u2065"],
  ...["\u2066", "\u2069", "\u206a", "日本", "\u{10ffff}", "x".repeat(80), "é".repeat(100)],
);

const anyBytes = (maxLength: number) => fc.uint8Array({ maxLength });
const sized = (...sizes: readonly number[]) =>
  fc.constantFrom(...sizes).chain((length) => fc.uint8Array({ minLength: length, maxLength: length }));
const text = (arbitrary: fc.Arbitrary<string>) => arbitrary.map(bytesOf);
const kindText = fc.oneof(
  fc.constantFrom("text", "data", "file", "edit", "pin", "poll", "app", "app.", "app.x", "App.x", "a\n", "react", ""),
  fc.stringMatching(/^[a-z][a-z0-9.-]{0,33}$/),
);

/** Values that a tag may have, or nearly. */
const valuesOf: Readonly<Record<number, fc.Arbitrary<Uint8Array>>> = {
  1: text(kindText),
  2: text(fc.oneof(fc.stringMatching(/^[ -~]{0,129}$/), fc.constantFrom("text/plain", "é", "a\tb", "\u007f"))),
  3: fc.oneof(text(fc.array(namePieces, { maxLength: 5 }).map((parts) => parts.join(""))), anyBytes(12)),
  4: sized(0, 27, 28, 28, 28, 29, 56),
  5: sized(0, 28, 29, 56, 84, 112, 113, 140),
  6: sized(0, 19, 20, 20, 20, 21, 40),
  7: fc.oneof(
    sized(0, 2),
    fc.integer({ min: 0, max: 10 }).map((hops) => Uint8Array.of(hops)),
  ),
  8: sized(0, 1, 4, 5, 60, 64, 68),
  129: sized(0, 11, 12, 12, 12, 13, 24),
};
const knownTags = Object.keys(valuesOf).map(Number);

interface FieldDraft {
  readonly tag: number;
  readonly value: Uint8Array;
  /** What the stated length differs by. */
  readonly off: number;
}

const rarely = (value: number) =>
  fc.oneof({ weight: 40, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.constant(value) });
const aField: fc.Arbitrary<FieldDraft> = fc
  .oneof(
    { weight: 6, arbitrary: fc.constantFrom(...knownTags) },
    { weight: 1, arbitrary: fc.constantFrom(0, 9, 100, 127, 128, 130, 255) },
  )
  .chain((tag) =>
    fc.record({
      tag: fc.constant(tag),
      value: fc.oneof({ weight: 12, arbitrary: valuesOf[tag] ?? anyBytes(6) }, { weight: 1, arbitrary: anyBytes(6) }),
      off: fc.oneof(rarely(1), rarely(-1), rarely(65_000)),
    }),
  );

const u16 = (value: number) => [(value >> 8) & 255, value & 255];

function assemble(fields: readonly FieldDraft[], isSorted: boolean, off: number, body: Uint8Array): Uint8Array {
  const unique = [...new Map(fields.map((one) => [one.tag, one])).values()].sort((one, other) => one.tag - other.tag);
  const header = (isSorted ? unique : fields).flatMap(({ tag, value, off }) => [
    ...[tag, ...u16(Math.max(0, value.length + off))],
    ...value,
  ]);
  return Uint8Array.from([...envelopeMagic, ...u16(Math.max(0, header.length + off)), ...header, ...body]);
}

const envelope = fc
  .tuple(
    fc.array(aField, { maxLength: 5 }),
    fc.oneof({ weight: 9, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
    fc.oneof(rarely(1), rarely(-1), rarely(1_024)),
    anyBytes(8),
  )
  .map(([fields, isSorted, off, body]) => assemble(fields, isSorted, off, body));

/** A payload: mostly an envelope that is valid or has one fault. */
export const aPayload: fc.Arbitrary<Uint8Array> = fc.oneof(
  { weight: 12, arbitrary: envelope },
  {
    weight: 3,
    arbitrary: fc.tuple(envelope, fc.nat(), fc.nat(255)).map(([bytes, at, value]) => {
      bytes[at % bytes.length] = value;
      return bytes;
    }),
  },
  { weight: 2, arbitrary: fc.tuple(envelope, fc.nat()).map(([bytes, end]) => bytes.subarray(0, end % bytes.length)) },
  { weight: 1, arbitrary: anyBytes(12) },
  { weight: 1, arbitrary: anyBytes(1_100).map((rest) => Uint8Array.from([...envelopeMagic, ...rest])) },
);

const entryText = ({ id, n, hash }: ChainEntry) => `${id}:${n}:${hash}`;

function fieldTexts(header: EnvelopeHeader): string[] {
  const { kind, mediaType, fileName, chain, heads, statement, hops, parts, unknown = [] } = header;
  const known: readonly (readonly [number, string, string | undefined])[] = [
    [1, "kind", kind && toHex(bytesOf(kind))],
    [2, "media_type", mediaType && toHex(bytesOf(mediaType))],
    [3, "file_name", fileName && toHex(bytesOf(fileName))],
    [4, "chain", chain && entryText(chain)],
    [5, "heads", heads?.map(entryText).join(":")],
    [6, "statement", statement && `${statement.version}:${statement.hash}`],
    [7, "hops", hops === undefined ? undefined : String(hops)],
    [8, "void", header.void?.join(":")],
    [129, "parts", parts && `${parts.size}:${parts.count}`],
  ];
  const all = [
    ...known.flatMap(([tag, name, value]) => (value === undefined ? [] : [{ tag, text: `${name}=${value}` }])),
    ...unknown.map(({ tag, value }) => ({ tag, text: `${tag}=${toHex(value)}` })),
  ];
  return all.sort((one, other) => one.tag - other.tag).map((one) => one.text);
}

/** What a payload says, on one line: the kind, each field, the body. */
export function payloadLine(payload: Uint8Array): string {
  const content = decodeEnvelope(payload);
  if (isDropped(content)) return content.drop;
  return [content.kind, ...fieldTexts(content.header), `body=${toHex(content.body)}`].join(" ");
}
