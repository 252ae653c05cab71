/** `tail --raw` prints whatever members publish, also while nobody reads its stdout: what waits is bounded. */
import { expect, test } from "bun:test";
import { RawPrinter } from "../../src/cli/peer/raw.ts";

const mib = 1_048_576;

test("raw messages that nobody reads are dropped beyond 64 MiB, reported, and printed once they are read", async () => {
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
