/** Benchmark: what endless request bodies cost a server that refuses them. */
import { bytesEach, flood, growth, pour, signatureLines } from "../test/support/flood.ts";
import { call } from "../test/support/peer.ts";
import { makeUsers, startBus } from "./support/bus.ts";
import { median } from "./support/measure.ts";
import { workload } from "./workload.ts";

const senders = 200;
const rounds = 5;
const mebibyte = 1_048_576;

async function measure() {
  await using server = await startBus();
  const [user] = await makeUsers(server, 1);
  if (user === undefined) throw new Error("no user was made");
  for (let i = 0; i < 500; i++) await call(server.ready.http, user, "GET", "/directory");
  const unsigned = () => flood(server, senders, () => []);
  const signed = () => flood(server, senders, () => signatureLines(server, user, "/rooms"));
  const declared = () => pour(server, { target: "/rooms", lines: [], declared: true });
  const grown = async (work: () => Promise<unknown>) => {
    const samples: number[] = [];
    for (let round = 0; round < rounds; round++) samples.push((await growth(server, work)) / mebibyte);
    return { value: median(samples) };
  };
  // The first run of each kind pays the runtime's one-time allocations.
  for (const work of [declared, unsigned]) await work();
  return { declared: await grown(declared), unsigned: await grown(unsigned), signed: await grown(signed) };
}

/** Measures how much memory strangers and users can make a server hold with request bodies. */
export const bodies = workload({
  name: "bodies",
  goal: {
    declared: { unit: "MB", atMost: 10 },
    unsigned: { unit: "MB", atMost: 10 },
    signed: { unit: "MB", atMost: 64 },
  },
  recipe:
    `growth of the peak resident memory, median of ${rounds}, while one sender declares ${bytesEach / mebibyte} MiB, while ` +
    `${senders} send chunks of as much without a signature, and with one: the budget of all bodies is 64 MiB`,
  run: measure,
});
