import { expect, test } from "bun:test";
import { pages } from "../../src/nats/pages.ts";

interface Page {
  readonly total?: number;
  readonly entries: readonly number[];
}

/** Lists `total` entries, at most `size` in each page. */
const listOf = (total: number, size: number) => async (offset: number) => ({
  total,
  entries: Array.from({ length: Math.min(size, total - offset) }, (_, index) => offset + index),
});
const read = async (ask: (offset: number) => Promise<Page>) =>
  (await Array.fromAsync(pages(ask, ({ entries }) => entries.length))).flatMap(({ entries }) => entries);

test("reads every entry once", async () => {
  for (const total of [0, 1, 256, 257, 1_000]) {
    expect(await read(listOf(total, 256))).toEqual(Array.from({ length: total }, (_, index) => index));
  }
});

test("ends with an empty page, or one without a total", async () => {
  expect(await read(async (offset) => ({ total: 9, entries: offset === 0 ? [1] : [] }))).toEqual([1]);
  expect(await read(async () => ({ entries: [1] }))).toEqual([1]);
});

test("a list without end is unavailable", async () => {
  const endless = read(async (offset) => ({ total: offset + 2, entries: [offset] }));
  await expect(endless).rejects.toMatchObject({ code: "unavailable" });
});
