/** Benchmark: signed GET /rooms/{id} under load, compared with a bare route that only verifies a signature. */
import { createRoom, policy } from "../test/support/peer.ts";
import { makeUsers, startBus } from "./support/bus.ts";
import type { LoadJob, LoadResult } from "./support/load.ts";
import { median } from "./support/measure.ts";
import { workload } from "./workload.ts";

const users = 64;
const inFlight = 32;
const rounds = 5;
/**
 * A round is signed before it is sent, so it must end before its timestamps are 30 s old, also on a busy machine. All
 * rounds together stay far below the nonce limit of a user.
 */
const requests = { warmUp: 3_000, measured: 10_000 } as const;

const script = (name: string) => [process.execPath, `${import.meta.dir}/support/${name}`];

async function load(job: LoadJob): Promise<LoadResult> {
  const child = Bun.spawn(script("load.ts"), { stdin: new Blob([JSON.stringify(job)]), stdout: "pipe" });
  const said = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error("the load could not be sent");
  return JSON.parse(said) as LoadResult;
}

/** Starts the bare route; returns its port and a disposer. */
async function startBare(): Promise<{ port: number } & Disposable> {
  const child = Bun.spawn(script("verify-route.ts"), { stdin: "ignore", stdout: "pipe" });
  const { value } = await child.stdout.getReader().read();
  return { port: Number(new TextDecoder().decode(value)), [Symbol.dispose]: () => child.kill() };
}

async function measure() {
  await using server = await startBus();
  using bare = await startBare();
  const identities = await makeUsers(server, users);
  const jobUsers: LoadJob["users"][number][] = [];
  for (const identity of identities) {
    const { roomId } = (await createRoom(server, identity, policy("encrypt"))).state;
    const seed = Buffer.from(identity.signPriv.subarray(0, 32)).toString("hex");
    jobUsers.push({ seed, pub: identity.signPubHex, target: `/rooms/${roomId}` });
  }
  const job = (port: number, count: number): LoadJob => {
    return { hostname: "127.0.0.1", port, inFlight, requests: count, users: jobUsers };
  };
  const busPort = Number(new URL(server.ready.http).port);
  for (const port of [busPort, bare.port]) await load(job(port, requests.warmUp));
  const bus: LoadResult[] = [];
  const limit: LoadResult[] = [];
  for (let round = 0; round < rounds; round++) {
    bus.push(await load(job(busPort, requests.measured)));
    limit.push(await load(job(bare.port, requests.measured)));
  }
  const beside = (of: (result: LoadResult) => number) => ({ value: median(bus.map(of)), limit: median(limit.map(of)) });
  return { rate: beside(({ perSecond }) => perSecond), p99: beside(({ p99Ms }) => p99Ms) };
}

/** Measures what the control plane costs on top of the signature check. */
export const signedGet = workload({
  name: "signed-get",
  goal: { rate: { unit: "/s", atLeast: 18_000, ofLimit: 0.75 }, p99: { unit: "ms" } },
  recipe:
    `GET /rooms/{id} by ${users} users, ${inFlight} in flight, signed beforehand, from a process of its own over raw ` +
    `sockets, median of ${rounds} rounds of ${requests.measured}; limit: a bare Elysia route that verifies one signature`,
  run: measure,
});
