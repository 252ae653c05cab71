/** Entry point of the executable `unibus`. Launching nats-server comes first, so that it does not load the rest. */
import { launch, launchCommand } from "../plugins/nats-embedded/launch.ts";

if (process.argv[2] === launchCommand) {
  const [parent, ...argv] = process.argv.slice(3);
  launch(Number(parent), argv);
}

const { run } = await import("./program.ts");
process.exit(await run(process.argv.slice(2)));
