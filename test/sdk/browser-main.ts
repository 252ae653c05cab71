/** A web page's program: runs the suite on the stage that served the page. The test injects `report`. */
import { type Outcome, runAll } from "./report.ts";
import { stageAt } from "./stage.ts";

declare const report: (outcome: Outcome) => Promise<void>;

const uncaught: string[] = [];
addEventListener("unhandledrejection", (event) => uncaught.push(String((event as PromiseRejectionEvent).reason)));
addEventListener("error", (event) => uncaught.push((event as ErrorEvent).message));
const stage = await stageAt(location.origin, { place: () => crypto.randomUUID(), uncaught: () => uncaught });
await runAll(stage, report);
