/** A queue that serves its keys in turn, so that one busy key cannot delay the others. */
import { expect, test } from "bun:test";
import { FairQueue } from "../../src/lib/fair-queue.ts";

/** Jobs that end when the test ends them, and record the order in which they started. */
function jobs() {
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  const job = (name: string) => () => {
    begun.push(name);
    return new Promise<string>((resolve) => ends.set(name, () => resolve(name)));
  };
  const end = async (name: string): Promise<void> => {
    ends.get(name)?.();
    await Bun.sleep(0);
  };
  return { begun, job, end };
}

test("keys take turns, however many tasks one of them has, and the newest task of a key comes first", async () => {
  const queue = new FairQueue(1, 100);
  const { begun, job, end } = jobs();
  const all = ["a1", "a2", "a3", "a4", "b1", "b2"].map((name) => queue.run(name.charAt(0), 60_000, job(name)));
  for (let i = 0; i < all.length; i++) await end(begun.at(-1) ?? "");
  expect(await Promise.all(all)).toEqual(["a1", "a2", "a3", "a4", "b1", "b2"].map((result) => ({ result })));
  expect(begun).toEqual(["a1", "a4", "b2", "a3", "b1", "a2"]);
});

test("at most the given number of tasks run at once, also after a failure", async () => {
  const queue = new FairQueue(2, 100);
  let [running, most] = [0, 0];
  const work = async (fails: boolean) => {
    most = Math.max(most, ++running);
    await Bun.sleep(1);
    running -= 1;
    if (fails) throw new Error("fails");
  };
  const all = Array.from({ length: 20 }, (_, i) => queue.run(String(i % 3), 60_000, () => work(i % 4 === 0)));
  const outcomes = await Promise.allSettled(all);
  expect(outcomes.filter(({ status }) => status === "rejected")).toHaveLength(5);
  expect([most, running]).toEqual([2, 0]);
});

test("tasks beyond the maximum queue length are refused", async () => {
  const queue = new FairQueue(1, 2);
  const { job, end } = jobs();
  const all = ["a", "b", "c", "d"].map((name) => queue.run(name, 60_000, job(name)));
  expect(await all[3]).toBeNull();
  for (const name of ["a", "b", "c"]) await end(name);
  expect(await Promise.all(all.slice(0, 3))).toEqual(["a", "b", "c"].map((result) => ({ result })));
});

test("a task that waited too long is dropped, and later ones are served", async () => {
  const queue = new FairQueue(1, 100);
  const { begun, job, end } = jobs();
  const first = queue.run("a", 60_000, job("first"));
  const late = Array.from({ length: 9 }, (_, i) => queue.run("a", 5, job(`late ${i}`)));
  const patient = queue.run("a", 60_000, job("patient"));
  expect(await Promise.all(late)).toEqual(Array(9).fill(null));
  await end("first");
  await end("patient");
  expect([await first, await patient, begun]).toEqual([
    { result: "first" },
    { result: "patient" },
    ["first", "patient"],
  ]);
  // The queue keeps nothing of it.
  const next = queue.run("b", 60_000, job("next"));
  await end("next");
  expect(await next).toEqual({ result: "next" });
});
