/** Opens every room of an identity and prints the cost. Reads its input as JSON. */
import { connect, parseIdentity } from "../../src/client/index.ts";
import { each } from "./measure.ts";

/** The printed result. */
export interface OpenedRooms {
  readonly count: number;
  readonly ms: number;
  /** Growth of the process's memory. */
  readonly bytes: number;
}

const given = (await Bun.stdin.json()) as { url: string; identity: string };
const bus = await connect({ url: given.url, identity: await parseIdentity(given.identity), state: "memory" });
const entries = await bus.rooms();
Bun.gc(true);
const before = process.memoryUsage().rss;
const began = performance.now();
await each(entries.length, 32, (index) => bus.room(entries[index]?.id ?? ""));
const ms = performance.now() - began;
Bun.gc(true);
const opened: OpenedRooms = { count: entries.length, ms, bytes: process.memoryUsage().rss - before };
console.log(JSON.stringify(opened));
await bus.close();
