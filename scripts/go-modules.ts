/**
 * Reads the list of Go modules that the linker writes into a Go executable, and collects the licence texts of the
 * modules in nats-server. The texts are committed as `licenses/nats-server.json`, because a build may take nats-server
 * from PATH and have neither Go nor network access. Run as a script, this writes that file from Go's module cache.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { natsServer } from "./nats-server.ts";

const root = join(import.meta.dir, "..");
const textsFile = join(root, "licenses", "nats-server.json");

/** A module in a Go executable. `sum`: Go's hash of its source in base64, or null if the linker did not know it. */
export interface GoModule {
  readonly path: string;
  readonly version: string;
  readonly sum: string | null;
}

/**
 * Layout of the build information: it begins with these bytes, its strings follow 32 bytes later, each prefixed by its
 * length, and the list of modules is between two markers of 16 bytes. Source: Go's package debug/buildinfo.
 */
const head = { text: "\xff Go buildinf:", bytes: 32, mark: 16 } as const;

/** Reads a string with its length prefix (a varint), and returns where the next one begins. */
function textAt(bytes: Buffer, offset: number): { readonly text: string; readonly end: number } {
  let [length, at] = [0, offset];
  for (let shift = 0; shift < 28; shift += 7) {
    const byte = bytes[at++] ?? 0;
    length |= (byte & 127) << shift;
    if (byte < 128) break;
  }
  return { text: bytes.toString("latin1", at, at + length), end: at + length };
}

/**
 * Lists the modules of a Go executable: its own first, Go's standard library as `std` last.
 * Errors: one for a file without build information.
 */
export function goModulesIn(executable: Uint8Array): GoModule[] {
  const bytes = Buffer.from(executable.buffer, executable.byteOffset, executable.byteLength);
  for (let at = bytes.indexOf(head.text, 0, "latin1"); at !== -1; at = bytes.indexOf(head.text, at + 1, "latin1")) {
    const go = textAt(bytes, at + head.bytes);
    if (!go.text.startsWith("go1.")) continue;
    const lines = textAt(bytes, go.end).text.slice(head.mark, -head.mark).split("\n");
    const modules = lines.flatMap((line): GoModule[] => {
      const [kind, path = "", version = "", sum = ""] = line.split("\t");
      if (kind !== "mod" && kind !== "dep") return [];
      return [{ path, version, sum: /^h1:(.+)$/.exec(sum)?.[1] ?? null }];
    });
    return [...modules, { path: "std", version: `v${go.text.slice(2).split(" ")[0]}`, sum: null }];
  }
  throw new Error("the executable contains no Go build information");
}

/** A licence by its SPDX name, with its text. */
export interface GoLicence {
  readonly version: string;
  readonly license: string;
  readonly text: string;
}

/** The committed licences of the modules in nats-server, by module path. */
export function keptGoLicences(): Readonly<Record<string, GoLicence>> {
  return JSON.parse(readFileSync(textsFile, "utf8"));
}

/** The licence of each module, determined by a person, because the texts have no machine-readable name. */
const licences: Readonly<Record<string, string>> = {
  "github.com/nats-io/nats-server/v2": "Apache-2.0",
  "github.com/antithesishq/antithesis-sdk-go": "MIT",
  "github.com/google/go-tpm": "Apache-2.0",
  "github.com/klauspost/compress": "BSD-3-Clause AND Apache-2.0 AND MIT",
  "github.com/minio/highwayhash": "Apache-2.0",
  "github.com/nats-io/jwt/v2": "Apache-2.0",
  "github.com/nats-io/nkeys": "Apache-2.0",
  "github.com/nats-io/nuid": "Apache-2.0",
  "golang.org/x/crypto": "BSD-3-Clause",
  "golang.org/x/sys": "BSD-3-Clause",
  "golang.org/x/time": "BSD-3-Clause",
  std: "BSD-3-Clause",
};

function go(...args: string[]): string {
  const done = Bun.spawnSync(["go", ...args], { stdin: "ignore" });
  if (!done.success) throw new Error(`go ${args.join(" ")} failed: ${done.stderr}`);
  return done.stdout.toString().trim();
}

/** The folder of a module's source in Go's cache, which writes an upper-case letter as `!` and the lower-case one. */
function folderOf({ path, version }: GoModule): string {
  if (path === "std") return go("env", "GOROOT");
  return join(
    go("env", "GOMODCACHE"),
    `${path}@${version}`.replace(/[A-Z]/g, (letter) => `!${letter.toLowerCase()}`),
  );
}

function licenceOf(module: GoModule): GoLicence {
  const license = licences[module.path];
  if (license === undefined) throw new Error(`${module.path} is new (read its licence and name it in this script)`);
  const files = ["LICENSE", "NOTICE", "PATENTS"].map((name) => join(folderOf(module), name)).filter(existsSync);
  if (files[0]?.endsWith("LICENSE") !== true) throw new Error(`${module.path} has no LICENSE in Go's module cache`);
  const text = files.map((file) => readFileSync(file, "utf8").trim()).join("\n\n");
  return { version: module.version, license, text };
}

/** Modules that nats-server requires on other platforms. Another build may contain them. */
function requiredBy(server: GoModule): GoModule[] {
  const text = readFileSync(join(folderOf(server), "go.mod"), "utf8");
  return [...text.matchAll(/^\t(\S+) (v\S+)/gm)].flatMap(([, path = "", version = ""]) =>
    licences[path] === undefined ? [] : [{ path, version, sum: null }],
  );
}

if (import.meta.main) {
  const inside = goModulesIn(readFileSync(await natsServer()));
  const [server] = inside;
  if (server === undefined) throw new Error("nats-server lists no modules");
  const others = requiredBy(server).filter(({ path }) => !inside.some((module) => module.path === path));
  const modules = [...inside, ...others];
  for (const { path, version } of others) go("mod", "download", `${path}@${version}`);
  const kept = Object.fromEntries(modules.map((module) => [module.path, licenceOf(module)]));
  writeFileSync(textsFile, `${JSON.stringify(kept, null, 2)}\n`);
  console.log(`licenses/nats-server.json: ${modules.length} modules`);
}
