/** The manifest of a file in parts: a receiver gets exactly the parts that the message promises, or nothing. */
import { describe, expect, test } from "bun:test";
import { blobBytesMax } from "../../src/wire/api.ts";
import { toBase64 } from "../../src/wire/encoding.ts";
import { decodeManifest, encodeManifest, partsMax } from "../../src/wire/parts.ts";
import { at, bytes, ownEnvelopes } from "../support/vectors.ts";

const ref = (fill: number, sz: number) => ({
  h: fill.toString(16).padStart(2, "0").repeat(32),
  n: toBase64(new Uint8Array(24).fill(fill)),
  sz,
});
const parts = [ref(1, 116), ref(2, 17)];
const manifest = encodeManifest(parts);
/** A manifest of a number of parts, each of one byte. */
function repeated(count: number): Uint8Array {
  const one = encodeManifest([ref(1, 17)]);
  const all = new Uint8Array(count * one.length);
  for (let at = 0; at < all.length; at += one.length) all.set(one, at);
  return all;
}
const tag = { size: 101n, count: 2 };

describe("a manifest", () => {
  test("names the parts in order", () => {
    expect(manifest.length).toBe(120);
    expect(decodeManifest(manifest, tag)).toEqual(parts);
    const file = at(ownEnvelopes, 3);
    expect(decodeManifest(bytes(file.manifest ?? ""), { size: 30n, count: 2 })).toEqual(
      (file.parts ?? []).map((part) => JSON.parse(part.ref)),
    );
  });

  test.each([
    ["of another size", manifest, { size: 102n, count: 2 }],
    ["of another number of parts", manifest, { size: 101n, count: 3 }],
    ["without parts", new Uint8Array(), { size: 0n, count: 0 }],
    ["cut short", manifest.subarray(0, 119), tag],
    ["with more bytes", Uint8Array.from([...manifest, 0]), tag],
    ["with an empty part", encodeManifest([ref(1, 117), ref(2, 16)]), tag],
    ["with a part above a blob's size", encodeManifest([ref(1, blobBytesMax + 1)]), { size: 16_777_201n, count: 1 }],
    ["of more parts than fit into a blob", repeated(partsMax + 1), { size: BigInt(partsMax + 1), count: partsMax + 1 }],
  ])("%s is refused", (_, bytes, of) => {
    expect(decodeManifest(bytes, of)).toBeNull();
  });

  test("is written of valid references only", () => {
    expect(() => encodeManifest([{ ...ref(1, 17), h: "00" }])).toThrow("not a blob reference");
    expect(() => encodeManifest([{ ...ref(1, 17), n: "AA==" }])).toThrow("not a blob reference");
  });
});
