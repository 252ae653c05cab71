/** POST /register at the executable: one signature check and two durable steps, beside bare commits. */
import { randomBytes } from "node:crypto";
import type { InviteRecord } from "../src/contracts/store.ts";
import { openSqliteStore } from "../src/plugins/store-sqlite/store.ts";
import { sha256Hex } from "../src/wire/encoding.ts";
import type { Server } from "../test/support/executable.ts";
import { bareCommits } from "./sqlite-register.ts";
import { startBus } from "./support/bus.ts";
import type { LoadResult } from "./support/load.ts";
import { each, median } from "./support/measure.ts";
import type { RegisterJob } from "./support/register-load.ts";
import { workload } from "./workload.ts";

const inFlight = 32;
const rounds = 5;
const people = { warmUp: 3_000, measured: 6_000 } as const;

function inviteOf(token: string, at: number): InviteRecord {
  const tokenHash = sha256Hex(token);
  return {
    ...{ id: tokenHash.slice(0, 32), tokenHash, handle: "guest", role: "member", createdAt: at },
    ...{ expiresAt: at + 3_600_000, usedAt: null, usedSignPub: null, usedKexPub: null, completedAt: null },
  };
}

/** Writes invites beside the running server: more than may be pending by the rules. */
async function makeTokens(server: Server, count: number): Promise<string[]> {
  const store = openSqliteStore({ file: server.folder.file("data", "unibus.db") });
  try {
    const tokens = Array.from({ length: count }, () => randomBytes(32).toString("hex"));
    await each(count, 500, (index) => store.invites.insertInvite(inviteOf(tokens[index] ?? "", Date.now())));
    return tokens;
  } finally {
    store.close();
  }
}

async function load(server: Server, count: number): Promise<LoadResult> {
  const { hostname, port } = new URL(server.ready.http);
  const job: RegisterJob = { hostname, port: Number(port), inFlight, tokens: await makeTokens(server, count) };
  const script = `${import.meta.dir}/support/register-load.ts`;
  const child = Bun.spawn([process.execPath, script], { stdin: new Blob([JSON.stringify(job)]), stdout: "pipe" });
  const said = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error("the load could not be sent");
  return JSON.parse(said) as LoadResult;
}

async function measure() {
  await using server = await startBus();
  await load(server, people.warmUp);
  const results: LoadResult[] = [];
  const limits: number[] = [];
  for (let round = 0; round < rounds; round++) {
    results.push(await load(server, people.measured));
    limits.push(await bareCommits(server.folder.file(`bare${round}.db`)));
  }
  return {
    rate: { value: median(results.map(({ perSecond }) => perSecond)), limit: median(limits) },
    p99: { value: median(results.map(({ p99Ms }) => p99Ms)) },
  };
}

/** How many people can join at once. */
export const register = workload({
  name: "register",
  goal: { rate: { unit: "/s", atLeast: 6_000 }, p99: { unit: "ms", atMost: 10 } },
  recipe:
    `POST /register, ${inFlight} in flight, from a process of its own over raw sockets, median of ${rounds} rounds of ` +
    `${people.measured} people, synchronous FULL; limit: bare SQLite commits of one row, one after the other, in the same run`,
  run: measure,
});
