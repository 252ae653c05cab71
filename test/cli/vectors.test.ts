/**
 * Our test vectors match those of an independent program on every platform of the client.
 * Source: docs/protocol/README.md.
 */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { computeVectors } from "../../src/client/vectors.ts";
import frames from "../golden/frames.json";
import { Folder } from "../support/executable.ts";
import { allVectors as golden } from "../support/vectors.ts";

const root = join(import.meta.dir, "..", "..");
const groups = [
  ...["endpoint_id", "nkey", "sign", "keys", "room_statement", "key_check", "aead", "keybox", "frame", "blob"],
  ...["control_request", "nats_connect", "wallet", "room_fingerprint", "user_fingerprint"],
  ...["envelope", "envelope_extra", "envelope_bad", "frame_with_envelope", "signal"],
];

const computed = await computeVectors();

test("the vectors contain exactly the expected groups", () => {
  expect(Object.keys(computed).sort()).toEqual([...groups].sort());
  expect(Object.keys(golden).sort()).toEqual([...groups].sort());
});

test.each(groups)("%s has the values of the independent program", (group) => {
  expect(computed[group]).toEqual(golden[group as keyof typeof golden] as never);
});

test("`unibus vectors` prints them, identically each time", async () => {
  const run = async () => {
    const child = Bun.spawn([process.execPath, "src/cli/main.ts", "vectors"], { cwd: root, stdout: "pipe" });
    return new Response(child.stdout).text();
  };
  const [first, second] = await Promise.all([run(), run()]);
  expect(JSON.parse(first)).toEqual(golden);
  expect(first).toBe(second);
});

/** What test/support/portable.ts prints. */
interface Printed {
  readonly vectors: unknown;
  readonly said: readonly string[];
  readonly verdicts: readonly string[];
}

/** Bundles the portable code for one platform and runs it in Node. */
async function inNode(target: "node" | "browser"): Promise<Printed & { bundle: string }> {
  const node = Bun.which("node");
  if (node === null) throw new Error("node is not on PATH (install Node 20 or newer)");
  using folder = new Folder();
  const built = await Bun.build({
    entrypoints: [join(root, "test/support/portable.ts")],
    outdir: folder.path,
    naming: "portable.mjs",
    target,
    format: "esm",
  });
  expect(built.logs).toEqual([]);
  const file = folder.file("portable.mjs");
  const child = Bun.spawn([node, file], { cwd: folder.path, stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  if ((await child.exited) !== 0) throw new Error(`node ended with: ${stderr}`);
  return { ...(JSON.parse(stdout) as Printed), bundle: readFileSync(file, "utf8") };
}

describe("in Node", () => {
  test.each(["node", "browser"] as const)("the bundle for %s computes and opens the same", async (target) => {
    const { bundle, said, vectors, verdicts } = await inNode(target);
    expect(vectors).toEqual(golden);
    expect(said).toEqual(golden.frame.flatMap(({ plaintext }) => [plaintext, "bad_signature"]));
    const wires = frames.frames.flatMap(({ wire }) => wire ?? []);
    expect(verdicts.slice(0, wires.length)).toEqual(wires);
    const others = verdicts.slice(wires.length);
    expect(others.length).toBeGreaterThan(frames.hostile.length);
    for (const verdict of others) expect(verdict).toMatch(/^not_(json|canonical)$/);
    // package.json selects the signature checker; the other one must not be in the bundle.
    expect(bundle.includes("createPublicKey({")).toBe(target === "node");
    expect(/subtle\.importKey\([^)]*"Ed25519"/.test(bundle)).toBe(target === "browser");
    if (target === "browser") expect(bundle).not.toMatch(/from ?"node:/);
  });
});
