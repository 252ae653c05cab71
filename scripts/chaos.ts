/** `bun run chaos -- --minutes N [--seed S]`: builds the executable and injects faults into a three-node cluster. */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { build } from "./build.ts";
import { natsServer } from "./nats-server.ts";
import { endSessionsOnSignals, runInSession } from "./sessions.ts";

const minutesDefault = "10";

const { values } = parseArgs({
  options: { minutes: { type: "string", default: minutesDefault }, seed: { type: "string" } },
});
const minutes = Number(values.minutes);
const seed = values.seed ?? String(Math.floor(Math.random() * 1e9));
if (!(minutes > 0) || !/^\d+$/.test(seed)) {
  console.error("error: --minutes and --seed must be numbers (for example bun run chaos -- --minutes 10 --seed 1)");
  process.exit(2);
}
endSessionsOnSignals();
await natsServer();
const file = join(import.meta.dir, "../test/faults/chaos/chaos.test.ts");
const { code } = await runInSession([process.execPath, "test", file], {
  cwd: join(import.meta.dir, ".."),
  env: {
    ...process.env,
    UNIBUS_TEST_BIN: process.env.UNIBUS_TEST_BIN ?? (await build()),
    UNIBUS_CHAOS_MS: String(minutes * 60_000),
    UNIBUS_CHAOS_SEED: seed,
  },
  isShown: true,
});
process.exit(code);
