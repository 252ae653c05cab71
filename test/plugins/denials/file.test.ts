/** The denials file: lines stay whole with several writers, and its copy catches up. */
import { describe, expect, test } from "bun:test";
import { appendFileSync, mkdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import { denialLine, parseDenials, stayDenialKey } from "../../../src/contracts/denials.ts";
import { DenialFile } from "../../../src/plugins/denials/file.ts";
import { Folder } from "../../support/executable.ts";

const line = (n: number): string => denialLine({ kind: "user-revoked", key: String(n).padStart(64, "0"), at: n });

interface Sample {
  readonly folder: Folder;
  readonly denials: DenialFile;
  readonly logged: string[];
  /** The same file, as another process opens it. */
  readonly other: DenialFile;
}

function open(copy = true): Sample & Disposable {
  const folder = new Folder();
  const logged: string[] = [];
  const note = (text: string) => void logged.push(text);
  const log = { debug() {}, info: note, warn: note, error: note };
  const options = { file: folder.file("denials"), copy: copy ? folder.file("copies", "denials") : undefined, log };
  mkdirSync(folder.file("copies"));
  const [denials, other] = [new DenialFile(options), new DenialFile({ ...options, copy: undefined })];
  return { folder, denials, logged, other, [Symbol.dispose]: () => folder[Symbol.dispose]() };
}

const read = (folder: Folder, ...names: string[]): string => readFileSync(folder.file(...names), "utf8");

describe("the denials file", () => {
  test("contains every line once, complete and in order, is readable by its owner only, and has a copy", async () => {
    using sample = open();
    const { folder, denials } = sample;
    const numbers = Array.from({ length: 500 }, (_, n) => n);
    await Promise.all(numbers.map((n) => denials.add(line(n))));
    await denials.settle();
    const text = numbers.map(line).join("");
    expect([read(folder, "denials"), read(folder, "copies", "denials")]).toEqual([text, text]);
    expect(statSync(folder.file("denials")).mode & 0o777).toBe(0o600);
    expect(parseDenials(text)).toEqual({
      denials: numbers.map((n) => ({ kind: "user-revoked", key: String(n).padStart(64, "0"), at: n })),
      fault: null,
    });
    expect(denials.health()).toEqual({ ok: true });
  });

  test("also receives the lines of another process, and so does its copy", async () => {
    using sample = open();
    const { folder, denials, other } = sample;
    await Promise.all([1, 2, 3, 4].map((n) => (n % 2 === 0 ? denials : other).add(line(n))));
    await other.add(line(5));
    await denials.settle();
    for (const place of [["denials"], ["copies", "denials"]]) {
      const lines = read(folder, ...place)
        .trimEnd()
        .split("\n")
        .map((one) => `${one}\n`);
      expect(lines.sort()).toEqual([1, 2, 3, 4, 5].map(line));
    }
  });

  test("continues after a truncated line, which is then ignored or recovered", async () => {
    using sample = open(false);
    const { folder, denials } = sample;
    await denials.add(line(1));
    appendFileSync(folder.file("denials"), line(2).slice(0, 40));
    expect(parseDenials(read(folder, "denials"))).toMatchObject({ denials: [{ at: 1 }], fault: null });
    await denials.add(line(3));
    expect(parseDenials(read(folder, "denials"))).toMatchObject({ denials: [{ at: 1 }], fault: 2 });
  });

  test("that cannot be written delays no request, fails the health check, and receives all lines later", async () => {
    using sample = open();
    const { folder, denials, logged } = sample;
    mkdirSync(folder.file("denials"));
    await denials.add(line(1));
    await denials.add(line(2));
    expect(denials.health()).toEqual({ ok: false, detail: expect.stringContaining("cannot write") });
    expect(logged.filter((text) => text.includes("cannot write"))).toHaveLength(1);
    rmdirSync(folder.file("denials"));
    await denials.add(line(3));
    expect(read(folder, "denials")).toBe([1, 2, 3].map(line).join(""));
    await denials.settle();
    expect(read(folder, "copies", "denials")).toBe([1, 2, 3].map(line).join(""));
    expect(denials.health()).toEqual({ ok: true });
    expect(logged.filter((text) => text.includes("can be written again"))).toHaveLength(1);
  });

  test("continues when its copy cannot be written, and the copy catches up", async () => {
    using sample = open();
    const { folder, denials } = sample;
    mkdirSync(folder.file("copies", "denials"));
    await denials.add(line(1));
    expect(read(folder, "denials")).toBe(line(1));
    await denials.settle();
    expect(denials.health()).toMatchObject({ ok: false });
    rmdirSync(folder.file("copies", "denials"));
    writeFileSync(folder.file("copies", "denials"), line(7));
    await denials.settle();
    expect(read(folder, "copies", "denials")).toBe(line(7) + line(1));
    expect(denials.health()).toEqual({ ok: true });
  });
});

test("a denial reads back as it was written, and an invalid one is reported with its line", () => {
  const key = stayDenialKey("01J00000000000000000000001", "A".repeat(43), 12);
  const text = denialLine({ kind: "left", key, at: 1_764_000_000_123 });
  expect(text).toBe(`left 01J00000000000000000000001/${"A".repeat(43)}/12 2025-11-24T16:00:00.123Z\n`);
  expect(parseDenials(text)).toEqual({ denials: [{ kind: "left", key, at: 1_764_000_000_123 }], fault: null });
  const wrong = [
    "left x",
    "sleft a 2025-11-24T16:00:00.123Z",
    "left a  2025-11-24T16:00:00.123Z",
    "left a 2025-13-24T16:00:00.123Z",
  ];
  for (const one of wrong) expect(parseDenials(`${text}\n${one}\n`)).toMatchObject({ denials: [{ key }], fault: 3 });
});
