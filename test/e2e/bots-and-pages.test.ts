/**
 * The page docs/bots-and-pages.md: every command runs as printed, its programs are those in examples, the bot answers,
 * and the web page joins, reads and writes in a real browser. The bot in Python is in test/interop/python-peer.test.ts.
 */
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { installBuilt } from "../support/built-client.ts";
import { startChromium } from "../support/chromium.ts";
import { until } from "../support/executable.ts";
import { blocksOf, linesIn } from "../support/pages.ts";
import { Reader } from "../support/reader.ts";

/** Timeouts of the test and of one wait, generous for a busy machine, in milliseconds. */
const patienceMs = 180_000;
const waitMs = 60_000;

const examples = join(import.meta.dir, "..", "..", "examples");
const blocks = blocksOf("bots-and-pages.md");

/** The programs of the page: the kind of their block, the example, where the reader saves it, and its most lines. */
const programs = [
  { kind: "js", example: "bot.mjs", saved: "bot.mjs", linesMax: 20 },
  { kind: "html", example: "page.html", saved: "site/index.html", linesMax: 30 },
] as const;

test.each(programs)("docs/bots-and-pages.md shows examples/$example, which is short", ({ kind, example, linesMax }) => {
  const shown = blocks.filter((block) => block.kind === kind).map(({ text }) => text);
  expect(shown).toEqual([readFileSync(join(examples, example), "utf8")]);
  expect(shown[0]?.trimEnd().split("\n").length).toBeLessThanOrEqual(linesMax);
});

/** The web page, with what the page adds to it for sending files. */
function pageWithFiles(): string {
  const [input = "", script = ""] = ["html file", "js file"].map(
    (kind) => blocks.find((block) => block.kind === kind)?.text ?? "",
  );
  const page = readFileSync(join(examples, "page.html"), "utf8");
  return page
    .replace("<script", () => `${input}<script`)
    .replace(/^.*room\.onMessage.*\n/m, (line) => `${line}${script}`);
}

/** Waits until the list of the web page contains a text. */
const shows = (page: Page, text: string) =>
  until(
    `the web page shows "${text}"`,
    async () => (await page.textContent("#messages"))?.includes(text) === true,
    waitMs,
  );

test(
  "docs/bots-and-pages.md: every command works, the bot answers, and the web page joins, reads and writes",
  async () => {
    await using reader = new Reader();
    await installBuilt(reader.folder);
    symlinkSync(reader.folder.file("node_modules"), reader.file("node_modules"));
    mkdirSync(reader.file("site"));
    for (const { example, saved } of programs) {
      writeFileSync(reader.file(saved), readFileSync(join(examples, example), "utf8"));
    }
    const web = blocks.flatMap(linesIn).find((line) => line.includes("http.server")) ?? "";
    // First, on a free port, because the bus has to know the page's origin.
    await reader.start(web.replace("8000", "0"));
    const port = /port (\d+)/.exec(reader.said("http.server"))?.[1] ?? "";
    const browser = await startChromium();
    try {
      const page = await browser.newPage();
      for (const block of blocks.filter(({ kind }) => kind === "sh" || kind === "sh background")) {
        for (const typed of linesIn(block)) {
          // The package is installed already; npm-package.test.ts packs it and installs it with npm.
          if (typed.startsWith("npm install") || typed === web) continue;
          const line = typed.replace(/http:\/\/127\.0\.0\.1:\d+(?= )/, '"$UNIBUS_URL"').replace("8000", port);
          if (block.kind === "sh background") await reader.start(line);
          else {
            const printed = await reader.run(line);
            if (!line.startsWith("unibus invite")) continue;
            page.once("dialog", (dialog) => void dialog.accept(printed));
            await page.goto(`http://127.0.0.1:${port}/`);
            await shows(page, "you are not a member of room.team");
          }
        }
      }
      await page.reload();
      await shows(page, "ana: !time");
      await shows(page, "clock: It is ");
      await page.fill("#text", "hello from a page");
      await page.click("button");
      await shows(page, "pat: hello from a page");
      expect(await reader.run("unibus history room.team")).toEndWith("  pat  hello from a page\n");
      writeFileSync(reader.file("site/index.html"), pageWithFiles());
      await page.reload();
      await shows(page, "pat: hello from a page");
      await page.setInputFiles("#file", { name: "a.txt", mimeType: "text/plain", buffer: Buffer.from("the minutes") });
      await shows(page, "pat: my file a.txt");
      expect(await page.getAttribute("#file", "disabled")).toBeNull();
      expect(await page.inputValue("#file")).toBe("");
      expect(await page.locator("#sent").evaluate((bar) => (bar as HTMLProgressElement).value)).toBe(1);
    } finally {
      await browser.close();
    }
  },
  patienceMs,
);
