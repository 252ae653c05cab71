/** Benchmark: time from exec to ready.json, compared with a nats-server that starts alone. */
import { existsSync, readFileSync } from "node:fs";
import { executable, Folder } from "../test/support/executable.ts";
import { BareNats, bareStream, createStream } from "./support/bare-nats.ts";
import { makeRooms, startBus } from "./support/bus.ts";
import { each, median } from "./support/measure.ts";
import { workload } from "./workload.ts";

const runs = 9;
const rooms = 1_000;
const bootTimeoutMs = 20_000;

/** Boots once and stops the server. Returns the milliseconds from exec to ready.json. */
async function bootMs(folder: Folder): Promise<number> {
  const ready = folder.file("data", "ready.json");
  const free = ["--http", "--nats", "--ws"].flatMap((name) => [name, "127.0.0.1:0"]);
  const began = performance.now();
  const child = Bun.spawn([executable, "serve", "--data", folder.file("data"), ...free], {
    cwd: folder.path,
    env: { PATH: process.env.PATH ?? "", HOME: folder.path },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
  });
  try {
    while (!existsSync(ready)) {
      if (child.exitCode !== null || performance.now() - began > bootTimeoutMs) throw new Error("serve did not boot");
      await Bun.sleep(1);
    }
    const took = performance.now() - began;
    if ((JSON.parse(readFileSync(ready, "utf8")) as { pid: number }).pid !== child.pid) throw new Error("another's");
    return took;
  } finally {
    child.kill("SIGTERM");
    await child.exited;
  }
}

/** Repeats the measurement; discards the first run. */
async function repeated(once: () => Promise<number>): Promise<number> {
  const taken: number[] = [];
  await once();
  for (let run = 0; run < runs; run++) taken.push(await once());
  return median(taken);
}

async function onEmptyFolder(): Promise<number> {
  using folder = new Folder();
  return await bootMs(folder);
}

async function measure() {
  using warmFolder = new Folder();
  using fullFolder = new Folder();
  await using bare = await BareNats.start();
  const bareMs = await repeated(() => bare.restart());
  const warm = { value: await repeated(() => bootMs(warmFolder)), limit: bareMs };
  const empty = { value: await repeated(onEmptyFolder), limit: bareMs };
  {
    await using server = await startBus(fullFolder);
    await makeRooms(server, rooms);
  }
  const connection = await bare.connect();
  await each(rooms, 8, (index) => createStream(connection, bareStream(index)));
  await connection.close();
  const full = { value: await repeated(() => bootMs(fullFolder)), limit: await repeated(() => bare.restart()) };
  return { warm, empty, full };
}

/** Measures the downtime of an upgrade or a crash. */
export const boot = workload({
  name: "boot",
  goal: { warm: { unit: "ms", atMost: 120 }, empty: { unit: "ms", atMost: 250 }, full: { unit: "ms", atMost: 500 } },
  recipe:
    `exec to ready.json, median of ${runs}: on a data directory that was used before, on an empty one, and on one with ` +
    `${rooms} persisted rooms; limit: the bare nats-server until it listens, in the last case with ${rooms} streams`,
  run: measure,
});
