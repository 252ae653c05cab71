/** The client suite in Bun, on the source code. */
import { afterAll, beforeAll, test } from "bun:test";
import { join } from "node:path";
import { SdkStage } from "../support/sdk-stage.ts";
import { type Stage, stageAt } from "./stage.ts";
import { cases } from "./suite.ts";

let props: SdkStage;
let stage: Stage;
const uncaught: string[] = [];
const note = (error: unknown): void => void uncaught.push(String(error));

beforeAll(async () => {
  props = await SdkStage.start();
  process.on("unhandledRejection", note);
  const place = () => join(props.folder.path, `state-${crypto.randomUUID()}`);
  stage = await stageAt(props.url, { place, uncaught: () => uncaught });
}, 60_000);
afterAll(async () => {
  process.off("unhandledRejection", note);
  await props?.[Symbol.asyncDispose]();
}, 30_000);

for (const { name, run } of cases) test(name, () => run(stage), 60_000);
