/**
 * `unibus licenses`: the list of components in the executable, their license texts, and the SBOM beside it. The build
 * must refuse a component without a license text.
 */
import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Spec, Validation } from "@cyclonedx/cyclonedx-library";
import { goModulesIn, keptGoLicences } from "../../scripts/go-modules.ts";
import { goParts, npmParts, type Part } from "../../scripts/licenses.ts";
import { natsServerPinned } from "../../scripts/nats-server.ts";
import { executable, Folder, unibus } from "../support/executable.ts";

const root = join(import.meta.dir, "..", "..");
const beside = (name: string) => readFileSync(join(dirname(executable), name), "utf8");
const patienceMs = 60_000;

async function licenses(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  using folder = new Folder();
  return await unibus(folder, ["licenses", ...args]);
}

/** The npm packages in the executable, found by the comment that Bun puts before each file's code. */
function packagesInside(): string[] {
  const found = new Set<string>();
  const text = readFileSync(executable, "latin1");
  for (const [, name = ""] of text.matchAll(/^\/\/ (?:\S+\/)?node_modules\/((?:@[\w.-]+\/)?[\w.-]+)\/\S+$/gm))
    found.add(name);
  return [...found].sort();
}

describe("unibus licenses", () => {
  test(
    "lists every part, and every npm package in the executable",
    async () => {
      const { code, stdout, stderr } = await licenses();
      const rows = stdout
        .trim()
        .split("\n")
        .map((line) => line.split("\t"));
      expect([code, rows[0]]).toEqual([0, ["unibus", expect.any(String), "MIT"]]);
      expect(stderr).toContain("--full");
      for (const row of rows)
        expect(row).toEqual([expect.stringMatching(/\S/), expect.stringMatching(/\S/), expect.stringMatching(/\S/)]);
      const names = rows.map(([name]) => name);
      expect(names).toEqual(
        expect.arrayContaining(["nats-server", "Go", "golang.org/x/crypto", "Bun", "WebKit and JavaScriptCore"]),
      );
      const inside = packagesInside();
      expect(inside).toEqual(expect.arrayContaining(["@nats-io/nats-core", "nats", "elysia", "pino", "libsodium"]));
      expect(names).toEqual(expect.arrayContaining(inside));
    },
    patienceMs,
  );

  test("--full prints every text, with a name one of them, and --json either", async () => {
    const list = JSON.parse((await licenses("--json")).stdout) as Part[];
    expect(list[0]).toEqual({
      name: "unibus",
      version: expect.any(String),
      license: "MIT",
      purl: expect.any(String),
    } as Part);
    const full = JSON.parse((await licenses("--full", "--json")).stdout) as Part[];
    expect(full.map(({ text, ...rest }) => rest)).toEqual(list);
    for (const { text } of full) expect(text.length).toBeGreaterThan(90);
    const printed = (await licenses("--full")).stdout;
    for (const { name, version, license } of list) expect(printed).toContain(`${name} ${version} (${license})\n\n`);
    const texts = ["Copyright (c) 2012 The Go Authors", "GNU LIBRARY GENERAL PUBLIC LICENSE", "UNICODE LICENSE V3"];
    for (const text of texts) expect(printed).toContain(text);
    expect(beside("LICENSES.txt")).toBe(printed);

    const one = await licenses("NATS-server", "cookie");
    expect(one.stdout).toMatch(/^nats-server .*Apache License.*\ncookie .*Permission is hereby granted/s);
    expect(one.stdout).not.toContain("elysia");
    const error = 'error: no part of the executable is named "nothing" (see unibus licenses)\n';
    expect(await licenses("nothing")).toEqual({ code: 1, stdout: "", stderr: error });
  });
});

test("the SBOM is valid CycloneDX, and describes this executable and each of its parts", async () => {
  const text = beside("unibus.cdx.json");
  const faults = await new Validation.JsonStrictValidator(Spec.Version.v1dot6).validate(text);
  expect(faults).toBeNull();
  const { metadata, components, dependencies } = JSON.parse(text);
  const sha256 = createHash("sha256").update(readFileSync(executable)).digest("hex");
  expect(metadata.component).toMatchObject({ name: "unibus", hashes: [{ alg: "SHA-256", content: sha256 }] });
  const list = JSON.parse((await licenses("--json")).stdout) as Part[];
  const short = ({ name, version, purl }: Part) => ({ name, version, purl });
  expect(components.map(short)).toEqual(list.slice(1).map(short));
  for (const { licenses, purl, hashes } of components) {
    expect(licenses).toHaveLength(1);
    if (purl.startsWith("pkg:npm/") && !purl.startsWith("pkg:npm/bun@"))
      expect(hashes[0].content).toMatch(/^[0-9a-f]{128}$/);
  }
  expect(dependencies).toHaveLength(components.length + 1);
});

test("SHA256SUMS has the hashes of the executable, the SBOM and the texts, as sha256sum checks them", async () => {
  const check = Bun.spawn(["sha256sum", "-c", "SHA256SUMS"], { cwd: dirname(executable), stdout: "pipe" });
  const said = await new Response(check.stdout).text();
  expect([await check.exited, said]).toEqual([0, "unibus: OK\nunibus.cdx.json: OK\nLICENSES.txt: OK\n"]);
});

test("the image contains the texts and the SBOM", () => {
  const dockerfile = readFileSync(join(root, "Dockerfile"), "utf8");
  expect(dockerfile).toContain("/src/dist/LICENSES.txt /src/dist/unibus.cdx.json /usr/share/doc/unibus/");
});

describe("the build", () => {
  /** A file with build information in the format of Go's linker. */
  const goProgram = (...lines: string[]): Uint8Array => {
    const counted = (text: string) =>
      Buffer.concat([Buffer.from([(text.length & 127) | 128, text.length >> 7]), Buffer.from(text)]);
    const mark = "-".repeat(16);
    const list = counted(`${mark}${lines.map((line) => `${line}\n`).join("")}${mark}`);
    const head = Buffer.from(`\x7fELF\xff Go buildinf: elsewhere\xff Go buildinf:\x08\x02${"\0".repeat(16)}`, "latin1");
    return Buffer.concat([head, counted("go1.26.8"), list, Buffer.from("rest")]);
  };

  test("has a licence text for each module of the embedded nats-server, of the pinned version", () => {
    const texts = keptGoLicences();
    expect(texts["github.com/nats-io/nats-server/v2"]?.version).toBe(`v${natsServerPinned}`);
    const modules = goModulesIn(readFileSync(join(root, ".cache", "nats-server", "nats-server")));
    const isPinned = modules[0]?.version === `v${natsServerPinned}`;
    for (const { path, version } of modules) {
      expect(texts[path]?.text).toMatch(/copyright/i);
      // The standard library is exempt: another toolchain may have built the binary.
      if (isPinned && path !== "std") expect(texts[path]?.version).toBe(version);
    }
  });

  test("refuses a Go module without a licence text", () => {
    const server = "mod\tgithub.com/nats-io/nats-server/v2\tv2.99.0\th1:AAAA";
    expect(goParts(goProgram(server)).map(({ name, version }) => `${name} ${version}`)).toEqual([
      "nats-server 2.99.0",
      "Go 1.26.8",
    ]);
    const unknown = goProgram(server, "dep\texample.org/unknown\tv1.0.0\th1:AAAA");
    expect(() => goParts(unknown)).toThrow("no licence text of example.org/unknown");
    expect(() => goParts(Buffer.from("no Go program"))).toThrow("contains no Go build information");
  });

  test("refuses an npm package without a licence or its text, and finds a package inside another", () => {
    using folder = new Folder();
    const add = (path: string, files: Readonly<Record<string, string>>) => {
      mkdirSync(folder.file(path), { recursive: true });
      for (const [name, text] of Object.entries(files)) writeFileSync(folder.file(join(path, name)), text);
      return folder.file(join(path, "lib", "index.js"));
    };
    const packageJson = (name: string, license?: string) => JSON.stringify({ name, version: "1.0.0", license });
    const good = add("node_modules/good", { "package.json": packageJson("good", "MIT"), "licence.md": "the text" });
    const inner = add("node_modules/good/node_modules/@a/b", {
      "package.json": packageJson("@a/b", "ISC"),
      COPYING: "its text",
    });
    const own = folder.file("src/main.ts");
    expect(npmParts([own, good, inner, good])).toEqual([
      { name: "good", version: "1.0.0", license: "MIT", purl: "pkg:npm/good@1.0.0", text: "the text" },
      { name: "@a/b", version: "1.0.0", license: "ISC", purl: "pkg:npm/%40a/b@1.0.0", text: "its text" },
    ]);
    const bare = add("node_modules/bare", { "package.json": packageJson("bare", "MIT") });
    const unnamed = add("node_modules/unnamed", { "package.json": packageJson("unnamed"), LICENSE: "some text" });
    expect(() => npmParts([good, bare, unnamed])).toThrow(
      "bare 1.0.0 has no licence text; unnamed 1.0.0 has no licence in its package.json",
    );
  });
});
