/** Runs all workloads, or those named, and prints one table. Read each figure beside its limit. */
import { cpus } from "node:os";
import { ackedPublish } from "./acked-publish.ts";
import { blobs } from "./blobs.ts";
import { bodies } from "./bodies.ts";
import { boot } from "./boot.ts";
import { clientDelivery, clientPublish, clientRekey, clientRooms, clientSend } from "./client.ts";
import { clusterFailover, clusterRead, clusterRegister, clusterRooms, clusterStart } from "./cluster.ts";
import { connects } from "./connects.ts";
import { createRooms } from "./create-room.ts";
import { cut } from "./cut.ts";
import { files } from "./files.ts";
import { history200, history1000 } from "./history.ts";
import { idleMemory } from "./idle-memory.ts";
import { limiter } from "./limiter.ts";
import { links } from "./links.ts";
import { livePermission } from "./live-permission.ts";
import { openFrames } from "./open-frames.ts";
import { register } from "./register.ts";
import { signals } from "./signals.ts";
import { signedGet } from "./signed-get.ts";
import { sqliteRegister } from "./sqlite-register.ts";
import { timeline } from "./timeline.ts";
import { type Goal, isReached, type Measured, type Workload } from "./workload.ts";

const workloads: readonly Workload[] = [
  boot,
  idleMemory,
  history200,
  history1000,
  signedGet,
  createRooms,
  sqliteRegister,
  ackedPublish,
  connects,
  cut,
  livePermission,
  register,
  openFrames,
  timeline,
  signals,
  bodies,
  blobs,
  files,
  limiter,
  clientPublish,
  links,
  clientDelivery,
  clientRekey,
  clientRooms,
  clientSend,
  clusterStart,
  clusterRegister,
  clusterRead,
  clusterFailover,
  clusterRooms,
];

const columns = ["workload", "figure", "measured", "goal", "limit", "ratio", ""] as const;

function amount(value: number, unit: Goal["unit"]): string {
  const digits = unit === "/s" ? 0 : value < 100 ? 2 : 0;
  return `${value.toLocaleString("en", { maximumFractionDigits: digits })} ${unit}`;
}

function goalText({ atMost, atLeast, ofLimit, unit }: Goal): string {
  const parts = [
    ...(atMost === undefined ? [] : [`<= ${amount(atMost, unit)}`]),
    ...(atLeast === undefined ? [] : [`>= ${amount(atLeast, unit)}`]),
    ...(ofLimit === undefined ? [] : [`>= ${ofLimit} of limit`]),
  ];
  return parts.join(", ");
}

function row(name: string, figure: string, goal: Goal, measured: Measured): string[] {
  const { value, limit } = measured;
  const verdict = { true: "ok", false: "miss", null: "" }[`${isReached(goal, measured)}`];
  const beside = limit === undefined ? ["", ""] : [amount(limit, goal.unit), (value / limit).toFixed(2)];
  return [name, figure, amount(value, goal.unit), goalText(goal), ...beside, verdict];
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = columns.map((_, column) => Math.max(...rows.map((cells) => cells[column]?.length ?? 0)));
  return rows
    .map((cells) =>
      cells
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

const wanted = process.argv.slice(2);
const chosen = workloads.filter(({ name }) => wanted.length === 0 || wanted.includes(name));
const unknown = wanted.find((name) => !workloads.some((one) => one.name === name));
if (unknown !== undefined) {
  console.error(`error: no workload ${unknown} (there are: ${workloads.map(({ name }) => name).join(", ")})`);
  process.exit(2);
}

const rows: string[][] = [[...columns]];
for (const { name, goal, run } of chosen) {
  console.error(`${name} ...`);
  const measured = await run().catch((error: unknown) => {
    console.error(error);
    return null;
  });
  if (measured === null) {
    rows.push([name, "", "failed", "", "", "", "miss"]);
    continue;
  }
  for (const [figure, one] of Object.entries(goal)) {
    const found = measured[figure];
    if (found !== undefined) rows.push(row(name, figure, one, found));
  }
}
console.log(`${cpus().length} x ${cpus()[0]?.model ?? "processor"}, Bun ${Bun.version}\n\n${table(rows)}\n`);
for (const { name, recipe } of chosen) console.log(`${name}: ${recipe}.`);
process.exit(rows.some((cells) => cells.includes("miss")) ? 1 : 0);
