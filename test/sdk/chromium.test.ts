/** The client suite in Chromium: the built bundle, over WebSocket, on a page of another origin. */
import { afterAll, beforeAll, test } from "bun:test";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { installBuilt, programOf } from "../support/built-client.ts";
import { startChromium } from "../support/chromium.ts";
import { Outcomes } from "../support/outcomes.ts";
import { SdkStage } from "../support/sdk-stage.ts";
import type { Outcome } from "./report.ts";
import { cases } from "./suite.ts";

const outcomes = new Outcomes();
let stage: SdkStage;
let browser: Browser;

const html = `<!doctype html><title>unibus</title>
<script type="importmap" nonce="sdk">{"imports":{"unibus/client":"/browser.js"}}</script>
<script type="module" src="/main.js"></script>`;

beforeAll(async () => {
  browser = await startChromium();
  stage = await SdkStage.start(async (folder) => {
    const home = await installBuilt(folder);
    const main = await programOf(folder, "browser-main", "browser");
    const client = join(home, "dist", "client", "browser.js");
    return { "/": { html }, "/main.js": { file: main }, "/browser.js": { file: client } };
  });
  const page = await browser.newPage();
  page.on("pageerror", (error) => outcomes.end(error));
  page.on("crash", () => outcomes.end(new Error("the page crashed")));
  await page.exposeFunction("report", (outcome: Outcome) => outcomes.take(outcome));
  await page.goto(stage.url);
}, 120_000);
afterAll(async () => {
  await browser?.close();
  await stage?.[Symbol.asyncDispose]();
}, 30_000);

for (const { name } of cases) test(name, () => outcomes.of(name), 60_000);
