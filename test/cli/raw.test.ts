/** `tail --raw` prints every message that members publish. While its stdout is not read, its buffer is bounded. */
import { expect, test } from "bun:test";
import { RawPrinter } from "../../src/cli/peer/raw.ts";

const mib = 1_048_576;

test("unread raw messages are dropped beyond 64 MiB and reported, and the rest is printed once stdout is read", async () => {
  const printed: number[] = [];
  const dropped: number[] = [];
  let read: () => void = () => undefined;
  let stdout = new Promise<void>((resolve) => {
    read = resolve;
  });
  const printer = new RawPrinter(
    async (bytes) => {
      await stdout;
      printed.push(bytes.length);
    },
    (count) => dropped.push(count),
  );
  for (let n = 0; n < 64 + 100; n++) printer.take(new Uint8Array(mib));
  expect(dropped).toEqual([1, 10, 100]);
  read();
  await Bun.sleep(0);
  expect(printed).toHaveLength(64);
  printer.take(new Uint8Array(mib));
  await Bun.sleep(0);
  expect(printed).toHaveLength(65);
  // A stdout that fails gives its place back, too.
  stdout = Promise.reject(new Error("ENOSPC"));
  stdout.catch(() => undefined);
  for (let n = 0; n < 64; n++) printer.take(new Uint8Array(mib));
  await Bun.sleep(0);
  stdout = Promise.resolve();
  printer.take(new Uint8Array(mib));
  await Bun.sleep(0);
  expect(printed).toHaveLength(66);
});
