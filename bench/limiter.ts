/** Benchmark: memory of a limiter with 100,000 clients, and its lookup time compared with a plain Map. */
import { workload } from "./workload.ts";

const clients = 100_000;
const lookUps = 2_000_000;

interface Result {
  readonly megabytes: number;
  readonly takePerSecond: number;
  readonly fewPerSecond: number;
  readonly mapPerSecond: number;
}

async function measure() {
  const script = `${import.meta.dir}/support/limiter-process.ts`;
  const child = Bun.spawn([process.execPath, script, String(clients), String(lookUps)], { stdout: "pipe" });
  const { megabytes, takePerSecond, fewPerSecond, mapPerSecond } = (await new Response(child.stdout).json()) as Result;
  return {
    memory: { value: megabytes },
    "look-ups": { value: takePerSecond, limit: mapPerSecond },
    // Ten clients instead of 100,000: shows whether lookup time grows with the number of clients.
    "of ten clients": { value: fewPerSecond },
  };
}

/** Measures how much memory strangers can make the limiter hold. */
export const limiter = workload({
  name: "limiter",
  goal: {
    memory: { unit: "MB", atMost: 30 },
    "look-ups": { unit: "/s", atLeast: 1_000_000 },
    "of ten clients": { unit: "/s" },
  },
  recipe:
    `${clients} addresses, each with a bucket, in a process of its own; then ${lookUps} look-ups of them in turn; limit: ` +
    "a plain Map that is read and written by the same keys",
  run: measure,
});
