/**
 * Collects the components of the executable besides unibus's own code, each with its version, licence and licence text:
 * npm packages in the bundle, Bun, nats-server with its Go modules, and data. The list is written to
 * `.cache/licenses/third-party`, which is embedded for `unibus licenses`, and the SBOM is made from it.
 * A component without a licence text fails the build. build.ts and build-client.ts use this.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { unicodeVersion } from "../src/wire/confusables.ts";
import { goModulesIn, keptGoLicences } from "./go-modules.ts";

const root = join(import.meta.dir, "..");
const cache = join(root, ".cache", "licenses");
/** The embedded list: unibus itself and all components, as JSON. */
export const carriedFile = join(cache, "third-party");

/** A component. `license` is an SPDX expression, `purl` a package URL. */
export interface Part {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  readonly purl: string;
  readonly text: string;
  /** The hash that the component's registry publishes, in hex. */
  readonly hash?: { readonly alg: "SHA-256" | "SHA-512"; readonly content: string };
  /** The name of the component that contains this one, if it is not unibus itself. */
  readonly inside?: string;
}

/** Reads a text from the folder `licenses`, without page breaks. */
const kept = (name: string): string =>
  readFileSync(join(root, "licenses", name), "utf8")
    .replaceAll("\f", "")
    .trim();
const readJson = (file: string) => JSON.parse(readFileSync(file, "utf8"));

/** The folder of the innermost npm package that a file belongs to, or null. */
export function packageFolderOf(file: string): string | null {
  return /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(file)?.[0] ?? null;
}

/** The licence file of a package, or null. */
function licenceFileIn(folder: string): string | null {
  const name = readdirSync(folder).find((entry) => /^(licen[cs]e|copying)(\.(md|txt))?$/i.test(entry));
  return name === undefined ? null : join(folder, name);
}

/** The hash of a package in the lock file. */
function lockedHash(lock: LockFile, folder: string): Part["hash"] {
  const integrity = lock.packages[folder.slice(folder.indexOf("node_modules/"))]?.integrity;
  const [alg, base64 = ""] = (integrity ?? "").split("-");
  return alg === "sha512" ? { alg: "SHA-512", content: Buffer.from(base64, "base64").toString("hex") } : undefined;
}

interface LockFile {
  readonly packages: Readonly<Record<string, { readonly integrity?: string }>>;
}

/**
 * The npm packages that contain the files, by name. `files`: absolute paths.
 * Errors: one that names every package without a licence or its text.
 */
export function npmParts(files: readonly string[]): Part[] {
  const folders = [...new Set(files.flatMap((file) => packageFolderOf(file) ?? []))].sort();
  const lock = readJson(join(root, "package-lock.json")) as LockFile;
  const faults: string[] = [];
  const parts = folders.map((folder): Part => {
    const { name, version, license } = readJson(join(folder, "package.json"));
    const file = licenceFileIn(folder);
    if (file === null) faults.push(`${name} ${version} has no licence text`);
    if (typeof license !== "string") faults.push(`${name} ${version} has no licence in its package.json`);
    const hash = lockedHash(lock, folder);
    return {
      ...{ name, version, license, purl: `pkg:npm/${name.replace("@", "%40")}@${version}` },
      text: file === null ? "" : readFileSync(file, "utf8").trim(),
      ...(hash === undefined ? {} : { hash }),
    };
  });
  if (faults.length > 0) throw new Error(`${faults.join("; ")} (ask its authors, or use another package)`);
  return parts;
}

/** nats-server and its modules, from its build information. Errors: one that names a module without a text. */
export function goParts(executable: Uint8Array): Part[] {
  const texts = keptGoLicences();
  const [server, ...modules] = goModulesIn(executable);
  if (server === undefined) throw new Error("nats-server lists no modules");
  return [server, ...modules].map((module) => {
    const licence = texts[module.path];
    const how = "name it in scripts/go-modules.ts and run that, or build with the pinned nats-server";
    if (licence === undefined) throw new Error(`no licence text of ${module.path}, which is in nats-server (${how})`);
    const isServer = module === server;
    const version = module.version.replace(/^v/, "");
    const name = isServer ? "nats-server" : module.path === "std" ? "Go" : module.path;
    const sha256 = module.sum === null ? null : Buffer.from(module.sum, "base64").toString("hex");
    return {
      ...{ name, version, license: licence.license, text: licence.text },
      purl: `pkg:golang/${module.path}@${module.path === "std" ? version : module.version}`,
      ...(sha256 === null ? {} : { hash: { alg: "SHA-256", content: sha256 } as const }),
      ...(isServer ? {} : { inside: "nats-server" }),
    };
  });
}

/**
 * The libraries in Bun with a known version, by their name in `process.versions`, with the licence that Bun's licence
 * page names for each.
 */
const bunLibraries: Readonly<Record<string, readonly [name: string, license: string]>> = {
  webkit: ["WebKit and JavaScriptCore", "LGPL-2.0-or-later"],
  boringssl: ["BoringSSL", "several licenses"],
  icu: ["ICU", "Unicode-3.0"],
  libarchive: ["libarchive", "several licenses"],
  libdeflate: ["libdeflate", "MIT"],
  lolhtml: ["lol-html", "BSD-3-Clause"],
  lshpack: ["ls-hpack", "MIT"],
  mimalloc: ["mimalloc", "MIT"],
  picohttpparser: ["picohttpparser", "MIT"],
  sqlite: ["SQLite", "blessing"],
  tinycc: ["TinyCC", "LGPL-2.1-or-later"],
  ares: ["c-ares", "MIT"],
  uwebsockets: ["uWebSockets", "Apache-2.0"],
  zlib: ["zlib-ng", "Zlib"],
  zstd: ["zstd", "BSD-3-Clause OR GPL-2.0-only"],
};

/**
 * Bun, which runs the bundle, and the libraries linked into it. The text is Bun's licence page from the package
 * `bun-types` of the same version.
 */
export function bunParts(): Part[] {
  const types = join(root, "node_modules", "bun-types");
  const { version } = readJson(join(types, "package.json"));
  if (version !== Bun.version)
    throw new Error(`bun-types is ${version}, Bun ${Bun.version} (install the same version)`);
  const page = readFileSync(join(types, "docs", "project", "license.mdx"), "utf8").replace(/^---\n.*?\n---\n/s, "");
  const bun: Part = {
    ...{ name: "Bun", version, license: "MIT", purl: `pkg:npm/bun@${version}` },
    text: `${page.trim()}\n\nThe texts that this page names are printed with the libraries that need them.`,
  };
  const whole: Readonly<Record<string, string>> = {
    "LGPL-2.0-or-later": kept("LGPL-2.0.txt"),
    "LGPL-2.1-or-later": kept("LGPL-2.1.txt"),
    "Apache-2.0": kept("Apache-2.0.txt"),
    "Unicode-3.0": kept("Unicode-3.0.txt"),
  };
  const named = "The page of Bun (`unibus licenses Bun`) says where this licence is; Bun comes with no copy of it.";
  const libraries = Object.entries(bunLibraries).map(([key, [name, license]]): Part => {
    const version = process.versions[key];
    if (version === undefined) throw new Error(`Bun does not report its version of ${key} (see process.versions)`);
    const purl = `pkg:generic/${encodeURIComponent(name)}@${version}`;
    return { name, version, license, purl, text: whole[license] ?? named, inside: "Bun" };
  });
  return [bun, ...libraries];
}

/** Data in unibus's own code. */
function dataParts(): Part[] {
  const [name, version] = ["Unicode data files", unicodeVersion];
  const purl = `pkg:generic/unicode-data@${version}`;
  return [{ name, version, license: "Unicode-3.0", purl, text: kept("Unicode-3.0.txt") }];
}

/** Unibus itself as a component. */
export function ownPart(): Part {
  const { name, version, license } = readJson(join(root, "package.json"));
  return {
    name,
    version,
    license,
    purl: `pkg:generic/${name}@${version}`,
    text: readFileSync(join(root, "LICENSE"), "utf8").trim(),
  };
}

/** The input files of a bundle, from the bundler's metafile. */
export function inputsOf(metafile: unknown): string[] {
  return Object.keys((metafile as { inputs: object }).inputs).map((path) => resolve(root, path));
}

/** All components besides unibus, in the order in which they are printed. */
export function allParts(files: readonly string[], natsServer: Uint8Array): Part[] {
  return [...goParts(natsServer), ...bunParts(), ...npmParts(files), ...dataParts()];
}

/** Bundles the executable's code only to list its files. Errors: those of Bun. */
function bundledFiles(): string[] {
  mkdirSync(cache, { recursive: true });
  // The code imports this file, so it must exist before its content is known.
  if (!readdirSync(cache).includes("third-party")) writeFileSync(carriedFile, "[]");
  const aside = mkdtempSync(join(cache, ".inputs-"));
  try {
    const meta = join(aside, "meta.json");
    const flags = ["--target=bun", "--format=esm", "--splitting", `--metafile=${meta}`, "--outdir", join(aside, "out")];
    const done = Bun.spawnSync([process.execPath, "build", ...flags, "src/cli/main.ts"], { cwd: root });
    if (!done.success) throw new Error(done.stderr.toString());
    return inputsOf(readJson(meta));
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

/** Collects all components, writes the embedded list, and returns them. Errors: those of the functions above. */
export function collectLicenses(natsServerFile: string): Part[] {
  const parts = allParts(bundledFiles(), readFileSync(natsServerFile));
  const fresh = `${carriedFile}.${process.pid}`;
  mkdirSync(dirname(fresh), { recursive: true });
  writeFileSync(fresh, JSON.stringify([ownPart(), ...parts]));
  renameSync(fresh, carriedFile);
  return parts;
}

/** Formats the licence texts of components as one text for people. */
export function licencesText(parts: readonly Part[]): string {
  const texts = parts.map(({ name, version, license, text }) => `${name} ${version} (${license})\n\n${text}\n`);
  return texts.join(`\n${"-".repeat(80)}\n\n`);
}
