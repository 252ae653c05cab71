/** Helpers for cancellable waits, and for calls that share the next run of an operation. */
import { expect, test } from "bun:test";
import { OneAtATime, pause, waitFor } from "../../src/client/transport/wait.ts";

test("waiting ends with the work, or when the caller aborts", async () => {
  const stop = new AbortController();
  expect(await waitFor(Promise.resolve(1), stop.signal)).toBe(1);
  expect(await waitFor(Promise.resolve(1), undefined)).toBe(1);
  await expect(waitFor(Promise.reject(new Error("no")), stop.signal)).rejects.toThrow("no");
  const endless = Promise.allSettled([
    waitFor(new Promise(() => undefined), stop.signal),
    pause(1_000_000, stop.signal),
  ]);
  const why = new Error("enough");
  stop.abort(why);
  expect(await endless).toEqual([
    { status: "rejected", reason: why },
    { status: "rejected", reason: why },
  ]);
  await expect(waitFor(new Promise(() => undefined), stop.signal)).rejects.toThrow("enough");
  await pause(0, undefined);
});

test("OneAtATime: all callers during a run share the next run", async () => {
  let begun = 0;
  let together = 0;
  const gates: ((value: number) => void)[] = [];
  const reading = new OneAtATime(async () => {
    begun += 1;
    together += 1;
    const value = await new Promise<number>((resolve) => gates.push(resolve));
    together -= 1;
    if (value < 0) throw new Error("no");
    return value;
  });
  const open = async (value: number) => {
    while (gates.length === 0) await pause(0, undefined);
    expect(together).toBe(1);
    gates.shift()?.(value);
  };
  const one = reading.run();
  const [two, three] = [reading.run(), reading.run()];
  const failed = one.catch((error: unknown) => String(error));
  await open(-1);
  expect(await failed).toBe("Error: no");
  await open(2);
  expect(await Promise.all([two, three])).toEqual([2, 2]);
  const four = reading.run();
  await open(4);
  expect([await four, begun]).toEqual([4, 3]);
});
