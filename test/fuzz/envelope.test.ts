/**
 * Payloads that nearly are envelopes: three implementations, in TypeScript, Go and Python, agree on every one of them:
 * whether it is dropped, its kind, each field, its body.
 */
import { beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import fc from "fast-check";
import { toHex } from "../../src/wire/encoding.ts";
import { decodeEnvelope, encodeEnvelope } from "../../src/wire/envelope.ts";
import { isDropped } from "../../src/wire/frame.ts";
import { aPayload, payloadLine } from "../support/envelopes.ts";
import { goPeer, tool } from "../support/installed.ts";
import { isSoak } from "../support/soak.ts";
import { allVectors, bytes } from "../support/vectors.ts";

const inputs = isSoak("envelope") ? 100_000 : 4_000;
const seed = Number(process.env.UNIBUS_FUZZ_SEED ?? Math.floor(Math.random() * 2 ** 31));
const python = join(import.meta.dir, "..", "..", "examples", "unibus_envelope.py");

let go: string;
beforeAll(async () => {
  go = await goPeer();
}, 300_000);

/** What a program prints for each payload. */
async function linesOf(command: readonly string[], payloads: readonly Uint8Array[]): Promise<string[]> {
  const child = Bun.spawn([...command], { stdin: "pipe", stdout: "pipe", stderr: "pipe" });
  child.stdin.write(payloads.map((payload) => `${toHex(payload)}\n`).join(""));
  child.stdin.end();
  const [stdout, stderr] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  if ((await child.exited) !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
  return stdout.split("\n").slice(0, -1);
}

test(`TypeScript, Go and Python agree on every payload (UNIBUS_FUZZ_SEED=${seed})`, async () => {
  const known = [...allVectors.envelope, ...allVectors.envelope_extra, ...allVectors.envelope_bad].map(({ payload }) =>
    bytes(payload),
  );
  const payloads = [...known, ...fc.sample(aPayload, { numRuns: inputs, seed })];
  const ours = payloads.map(payloadLine);
  const [ofGo, ofPython] = await Promise.all([
    linesOf([go, "envelopes"], payloads),
    linesOf([tool("python3", "Python 3.9 or newer"), "-I", python], payloads),
  ]);
  const different = payloads.flatMap((payload, at) =>
    ours[at] === ofGo[at] && ours[at] === ofPython[at]
      ? []
      : [{ payload: toHex(payload), ours: ours[at], go: ofGo[at], python: ofPython[at] }],
  );
  expect(different.slice(0, 3)).toEqual([]);
  expect([ofGo.length, ofPython.length]).toEqual([payloads.length, payloads.length]);
  // Enough of them must be valid, and enough must not be.
  const dropped = ours.filter((line) => line === "bad_envelope").length;
  expect(dropped).toBeGreaterThan(inputs / 5);
  expect(ours.length - dropped).toBeGreaterThan(inputs / 5);
  for (const payload of payloads) {
    const content = decodeEnvelope(payload);
    if (isDropped(content) || content.body.length === payload.length) continue;
    expect(encodeEnvelope(content.header, content.body)).toEqual(payload);
  }
}, 600_000);
