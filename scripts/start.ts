/** `npm start`: builds the executable, then runs it as a server in this folder with the given arguments. */
import { build } from "./build.ts";

const file = await build().catch((error: Error) => {
  console.error(`error: ${error.message}`);
  process.exit(1);
});
const child = Bun.spawn([file, "serve", ...process.argv.slice(2)], { stdio: ["inherit", "inherit", "inherit"] });
for (const signal of ["SIGTERM", "SIGHUP"] as const) process.on(signal, () => child.kill(signal));
process.on("SIGINT", () => process.stdin.isTTY || child.kill("SIGINT"));
process.exit(await child.exited);
