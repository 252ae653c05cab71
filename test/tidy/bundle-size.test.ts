/** The bundle for browsers keeps its limit. To bundle it alone takes a second, so that a merge finds out. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { browserBytesMax, bundle } from "../../scripts/build-client.ts";
import { Folder } from "../support/executable.ts";

test("the bundle for browsers is small", async () => {
  using folder = new Folder();
  const entry = "src/client/index.ts";
  const file = await bundle({ entry, platform: "browser", folder: folder.path, name: "browser" });
  expect(gzipSync(readFileSync(file), { level: 9 }).length).toBeLessThanOrEqual(browserBytesMax);
}, 60_000);
