/** Big-endian numbers: written as the format says, read back, and refused if they do not fit. */
import { expect, test } from "bun:test";
import { joinBytes, readU16, readU32, readU64, u8, u16, u32, u64 } from "../../src/lib/big-endian.ts";

test("numbers are written most significant byte first, and read back at any offset", () => {
  const all = joinBytes([u8(0xfe), u16(0x0102), u32(0xfffefdfc), u64(0x0102030405060708n)]);
  expect([...all]).toEqual([0xfe, 1, 2, 0xff, 0xfe, 0xfd, 0xfc, 1, 2, 3, 4, 5, 6, 7, 8]);
  const view = joinBytes([new Uint8Array(3), all]).subarray(3);
  expect([readU16(view, 1), readU32(view, 3), readU64(view, 7)]).toEqual([0x0102, 0xfffefdfc, 0x0102030405060708n]);
});

test.each([
  ["u8", () => u8(256)],
  ["u16", () => u16(65_536)],
  ["u32", () => u32(2 ** 32)],
  ["u64", () => u64(2n ** 64n)],
  ["a fraction", () => u32(0.5)],
  ["a negative number", () => u32(-1)],
  ["no number", () => u8(Number.NaN)],
])("%s that does not fit is refused", (_, write) => {
  expect(write).toThrow(RangeError);
});

test.each([readU16, readU32, readU64])("%p past the end is refused", (read) => {
  expect(() => read(new Uint8Array(1))).toThrow(RangeError);
});
