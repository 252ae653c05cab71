import { expect, test } from "bun:test";
import { every } from "../../src/lib/every.ts";

test("works again after an error, never twice at once, and not after the signal", async () => {
  const [stopping, done] = [new AbortController(), Promise.withResolvers<void>()];
  const errors: unknown[] = [];
  let [runs, running, most] = [0, 0, 0];
  const work = async (): Promise<void> => {
    runs += 1;
    running += 1;
    most = Math.max(most, running);
    await Promise.resolve();
    running -= 1;
    if (runs === 1) throw new Error("first");
    if (runs < 3) return;
    stopping.abort();
    done.resolve();
    throw new Error("after the signal");
  };
  every(work, { pauseMs: 1, signal: stopping.signal, onError: (error) => errors.push(error) });
  await done.promise;
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect({ runs, most, errors: errors.map(String) }).toEqual({ runs: 3, most: 1, errors: ["Error: first"] });
});

test("does nothing for a signal that has aborted", async () => {
  let runs = 0;
  const work = async (): Promise<void> => {
    runs += 1;
  };
  every(work, { pauseMs: 1, signal: AbortSignal.abort(), onError: () => undefined });
  await Promise.resolve();
  expect(runs).toBe(0);
});
