/** Chromium without a window: the tests that need it say so when it is not there. */
import { type Browser, chromium } from "playwright-core";

const names = ["chromium", "chromium-browser", "google-chrome"] as const;

/** It runs as root here, without a GPU, and calls nobody. */
const args = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Starts the Chromium on PATH, or the one that UNIBUS_TEST_CHROMIUM names. Errors: one that says what to install. */
export function startChromium(): Promise<Browser> {
  const named = process.env.UNIBUS_TEST_CHROMIUM || names.map((name) => Bun.which(name)).find((path) => path !== null);
  if (!named) throw new Error("chromium is not on PATH: install it (Debian: `apt-get install chromium`)");
  return chromium.launch({ executablePath: named, headless: true, args, timeout: 60_000 });
}
