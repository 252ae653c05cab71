/** Benchmark: how fast a client reads history (decode, verify and decrypt each frame), in Bun and in Node. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { OpenRates } from "./support/open-frames.ts";
import { workload } from "./workload.ts";

const script = join(import.meta.dir, "support", "open-frames.ts");

async function ratesOf(command: readonly string[]): Promise<OpenRates> {
  const child = Bun.spawn([...command], { stdin: "ignore", stdout: "pipe" });
  const said = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error("the frames could not be opened");
  return JSON.parse(said) as OpenRates;
}

async function ratesInNode(node: string): Promise<OpenRates> {
  const folder = mkdtempSync(join(tmpdir(), "unibus-bench-"));
  try {
    const naming = "open-frames.mjs";
    await Bun.build({ entrypoints: [script], outdir: folder, naming, target: "node", format: "esm" });
    return await ratesOf([node, join(folder, naming)]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure() {
  const node = Bun.which("node");
  if (node === null) throw new Error("node is not on PATH (install Node 20 or newer)");
  const inBun = await ratesOf([process.execPath, script]);
  const inNode = await ratesInNode(node);
  return {
    "in Bun": { value: inBun.opened, limit: inBun.raw },
    "in Node": { value: inNode.opened, limit: inNode.raw },
  };
}

/** Measures what the SDK costs on top of the required cryptography. */
export const openFrames = workload({
  name: "open-frames",
  goal: { "in Bun": { unit: "/s", atLeast: 20_000, ofLimit: 0.7 }, "in Node": { unit: "/s" } },
  recipe:
    "10000 signed and sealed frames of 200 bytes in pages of 1000, decoded, verified and decrypted, in a process of its " +
    "own, median of 5 rounds; limit: libsodium's decryption and the platform's verification alone, overlapped as well",
  run: measure,
});
