/** `bun run soak -- NAME`: builds the executable and runs one of the long tests at full size. CI runs smaller ones. */
import { join } from "node:path";
import { build } from "./build.ts";
import { runMutants } from "./mutants/run.ts";
import { natsServer } from "./nats-server.ts";
import { endSessionsOnSignals, runInSession } from "./sessions.ts";

/** The test file of each soak test, and its description. */
const soaks: Readonly<Record<string, { readonly file: string; readonly what: string }>> = {
  chaos: {
    file: "test/faults/chaos/chaos.test.ts",
    what: "three nodes under load while one after the other is killed, halted, cut off and misled; twelve minutes",
  },
  envelope: {
    file: "test/fuzz/envelope.test.ts",
    what: "100,000 payloads, on which TypeScript, Go and Python agree; UNIBUS_FUZZ_SEED repeats a run; a minute",
  },
  "refused-bodies": {
    file: "test/e2e/refused-bodies.test.ts",
    what: "Python, Node and curl read every refusal of a large body, 100 times each; a minute",
  },
  reconnect: {
    file: "test/e2e/reconnect.test.ts",
    what: "200 peers are back within 5 s after nats-server is killed; ten seconds",
  },
  gapless: {
    file: "test/e2e/gapless.test.ts",
    what: "50,000 messages through 100 cuts, 2 deaths of nats-server and 50 changes of permissions; two minutes",
  },
  integrity: {
    file: "test/faults/integrity.test.ts",
    what: "100 kills of clients, server and nats-server, full rooms, and leaders of three nodes; no gap; ten minutes",
  },
  "linearizable-reads": {
    file: "test/plugins/store-kv/linearizable-reads.test.ts",
    what: "4,000 writes against 8 readers whose news is late, lost or stopped; some minutes",
  },
  races: {
    file: "test/faults/races.test.ts",
    what: "every pair of commands 50 times on each store; UNIBUS_RACES_SEED and UNIBUS_RACES_RUNS set a run; 1 hour",
  },
  "races-cluster": {
    file: "test/faults/cluster-races.test.ts",
    what: "every pair of commands 10 times, on two nodes of three; half an hour",
  },
  "cluster-backup": {
    file: "test/faults/cluster-backup.test.ts",
    what: "the data directory of one node brings back a cluster of three at other addresses; a minute",
  },
  schemathesis: {
    file: "test/fuzz/schemathesis.test.ts",
    what: "200 random requests to each operation of the OpenAPI document, others each time; some minutes",
  },
  "start-10000": {
    file: "test/faults/start-10000.test.ts",
    what: "a node with 10,000 persisted rooms restarts, after an orderly stop and after kill -9; some minutes",
  },
  timeline: {
    file: "test/properties/timeline.test.ts",
    what: "100,000 random histories in random orders give one timeline each; UNIBUS_SEED sets the first; two minutes",
  },
  erase: {
    file: "test/faults/cluster-any-node.test.ts",
    what: "an erased message leaves the files of three nodes; up to ten minutes",
  },
  storm: {
    file: "test/interop/storm.test.ts",
    what: "2,500 nats.go connections from one address reconnect after nats-server is killed; about two minutes",
  },
};

const mutantsAre =
  "removes each limit from a copy of the tree and runs its tests; about half an hour, or name some mutants";

endSessionsOnSignals();
const [name = "", ...rest] = process.argv.slice(2);
if (name === "mutants") {
  await natsServer();
  process.exit(await runMutants(rest));
}
const soak = soaks[name];
if (soak === undefined || rest.length > 0) {
  const known = Object.entries(soaks).map(([one, { what }]) => `  ${one}: ${what}`);
  const all = [...known, `  mutants: ${mutantsAre}`].join("\n");
  console.error(`error: ${JSON.stringify(name)} is not a soak test (for example npm run soak -- storm):\n${all}`);
  process.exit(2);
}
await natsServer();
const root = join(import.meta.dir, "..");
const { code } = await runInSession([process.execPath, "test", join(root, soak.file), "--timeout", "3600000"], {
  cwd: root,
  env: { ...process.env, UNIBUS_TEST_BIN: process.env.UNIBUS_TEST_BIN ?? (await build()), UNIBUS_SOAK: name },
  isShown: true,
});
process.exit(code);
