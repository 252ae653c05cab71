import { expect, test } from "bun:test";
import { free } from "../../src/lib/free.ts";

test("bytes that are a part of a buffer are kept, others are freed", () => {
  const whole = new Uint8Array(100).fill(1);
  free(whole.subarray(1));
  free(whole.subarray(0, 99));
  expect(whole[99]).toBe(1);
  free(whole);
  expect(whole.length).toBe(0);
});
