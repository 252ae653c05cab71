/** Benchmark: memory of an unused server, compared with an idle Bun and an idle nats-server. */
import { readFileSync } from "node:fs";
import { Folder } from "../test/support/executable.ts";
import { BareNats } from "./support/bare-nats.ts";
import { startBus } from "./support/bus.ts";
import { workload } from "./workload.ts";

/** How long memory must stay constant to count as settled, and how often to look before giving up. */
const settled = { everyMs: 1_000, lookMax: 15, changeMbMax: 0.5 } as const;

type Memory = Readonly<Record<"rss" | "pss", number>>;

/** Total memory of some processes, in megabytes. */
function memoryOf(...pids: readonly number[]): Memory {
  const of = (field: "Rss" | "Pss") =>
    pids.reduce((sum, pid) => {
      const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
      return sum + Number(new RegExp(`^${field}: +(\\d+) kB`, "m").exec(text)?.[1] ?? Number.NaN) * 1024;
    }, 0) / 1e6;
  return { rss: of("Rss"), pss: of("Pss") };
}

async function whenSettled(...pids: readonly number[]): Promise<Memory> {
  let before = memoryOf(...pids);
  for (let look = 0; look < settled.lookMax; look++) {
    await Bun.sleep(settled.everyMs);
    const now = memoryOf(...pids);
    if (look >= 4 && Math.abs(now.rss - before.rss) < settled.changeMbMax) return now;
    before = now;
  }
  return before;
}

async function idleBun(): Promise<Memory> {
  const child = Bun.spawn([process.execPath, "-e", "setInterval(() => undefined, 60_000)"], { stdin: "ignore" });
  try {
    return await whenSettled(child.pid);
  } finally {
    child.kill();
    await child.exited;
  }
}

async function measure() {
  using folder = new Folder();
  {
    await using first = await startBus(folder);
    void first;
  }
  await using server = await startBus(folder);
  const [bus, nats] = [server.pid, server.ready.nats_pid];
  const both = await whenSettled(bus, nats);
  const parts = { bus: memoryOf(bus), nats: memoryOf(nats) };
  await using bare = await BareNats.start();
  const [bun, bareNats] = [await idleBun(), memoryOf(bare.pid)];
  return {
    rss: { value: both.rss, limit: bun.rss + bareNats.rss },
    pss: { value: both.pss, limit: bun.pss + bareNats.pss },
    "rss, executable": { value: parts.bus.rss, limit: bun.rss },
    "rss, nats-server": { value: parts.nats.rss, limit: bareNats.rss },
  };
}

/** Measures what it costs to leave a server running. */
export const idleMemory = workload({
  name: "idle-memory",
  goal: {
    rss: { unit: "MB", atMost: 100 },
    pss: { unit: "MB" },
    "rss, executable": { unit: "MB" },
    "rss, nats-server": { unit: "MB" },
  },
  recipe:
    "second boot on a data directory, executable and nats-server together once they changed by less than " +
    `${settled.changeMbMax} MB in a second; limit: an idle Bun and a bare nats-server`,
  run: measure,
});
