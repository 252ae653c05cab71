/** Headless Chromium: a test that needs it fails with an instruction if it is not installed. */
import { type Browser, chromium } from "playwright-core";

const names = ["chromium", "chromium-browser", "google-chrome"] as const;

/** Tests run it as root, without a GPU and without background network requests. */
const args = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/**
 * Starts the Chromium on PATH, or the one that UNIBUS_TEST_CHROMIUM names. Errors: if none is found, with what to
 * install.
 */
export function startChromium(): Promise<Browser> {
  const named = process.env.UNIBUS_TEST_CHROMIUM || names.map((name) => Bun.which(name)).find((path) => path !== null);
  if (!named) throw new Error("chromium is not on PATH: install it (Debian: `apt-get install chromium`)");
  return chromium.launch({ executablePath: named, headless: true, args, timeout: 60_000 });
}
