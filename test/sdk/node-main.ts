/** A program for Node: runs the suite on the stage at the given address, and prints one outcome per line. */
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { runAll } from "./report.ts";
import { stageAt } from "./stage.ts";

const [props = "", folder = ""] = process.argv.slice(2);
const uncaught: string[] = [];
const note = (error: unknown): void => void uncaught.push(String(error));
process.on("unhandledRejection", note);
process.on("uncaughtException", note);
const stage = await stageAt(props, { place: () => mkdtempSync(join(folder, "state-")), uncaught: () => uncaught });
await runAll(stage, (outcome) => console.log(JSON.stringify(outcome)));
// The program must end by itself once all clients are closed.
console.log(JSON.stringify({ name: "end", fault: null, ms: 0 }));
