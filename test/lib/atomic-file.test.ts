import { afterAll, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { link, rename } from "node:fs/promises";
import { placeFile, replaceFile } from "../../src/lib/atomic-file.ts";
import { Folder } from "../support/executable.ts";

const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());

test("replaces a file, which only its owner can read, and leaves nothing else", () => {
  const file = folder.file("a.json");
  replaceFile(file, "1");
  replaceFile(file, "2");
  expect(readFileSync(file, "utf8")).toBe("2");
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(readdirSync(folder.path)).toEqual(["a.json"]);
});

test("leaves the old file, and no temporary one, when the new one cannot take its name", () => {
  const at = folder.file("folder");
  mkdirSync(`${at}/inner`, { recursive: true });
  expect(() => replaceFile(at, "1")).toThrow();
  expect(readdirSync(folder.path).sort()).toEqual(["a.json", "folder"]);
});

test("places a complete file by a rename or a link, and leaves nothing after an error", async () => {
  const inside = folder.file("placed");
  mkdirSync(inside);
  await placeFile(inside, "1", (draft) => rename(draft, `${inside}/a`));
  await placeFile(inside, new Uint8Array([50]), (draft) => link(draft, `${inside}/b`));
  const taken = placeFile(inside, "3", (draft) => link(draft, `${inside}/a`));
  await expect(taken).rejects.toMatchObject({ code: "EEXIST" });
  expect(readdirSync(inside).sort()).toEqual(["a", "b"]);
  expect([readFileSync(`${inside}/a`, "utf8"), readFileSync(`${inside}/b`, "utf8")]).toEqual(["1", "2"]);
});
