/** The client suite in Node, on the built package. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { installBuilt, programOf } from "../support/built-client.ts";
import { nodePath } from "../support/node-run.ts";
import { Outcomes } from "../support/outcomes.ts";
import { SdkStage } from "../support/sdk-stage.ts";
import { cases } from "./suite.ts";

const outcomes = new Outcomes();
let stage: SdkStage;
let child: Bun.Subprocess<"ignore", "pipe", "pipe"> | null = null;

/** Collects printed outcomes until the program ends. */
async function follow({ stdout, stderr, exited }: NonNullable<typeof child>): Promise<void> {
  const said = new Response(stderr).text();
  let rest = "";
  for await (const chunk of stdout.pipeThrough(new TextDecoderStream() as never) as AsyncIterable<string>) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) outcomes.take(JSON.parse(line));
  }
  outcomes.end(new Error(`node ended with exit ${await exited}: ${await said}`));
}

beforeAll(async () => {
  const node = nodePath();
  stage = await SdkStage.start();
  await installBuilt(stage.folder);
  const program = await programOf(stage.folder, "node-main", "node");
  child = Bun.spawn([node, program, stage.url, stage.folder.path], { stdout: "pipe", stderr: "pipe" });
  void follow(child);
}, 60_000);
afterAll(async () => {
  child?.kill();
  await child?.exited;
  await stage?.[Symbol.asyncDispose]();
}, 30_000);

for (const { name } of cases) test(name, () => outcomes.of(name), 60_000);

test("the program exits by itself when its clients are closed", async () => {
  await outcomes.of("end");
  expect(await child?.exited).toBe(0);
}, 60_000);
