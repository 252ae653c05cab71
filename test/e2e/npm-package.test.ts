/**
 * The npm package as users get it: packed, installed into empty projects without a registry, run in Node and Bun, and
 * type-checked. Only the package and its one dependency are available.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { identityText } from "../../src/client/crypto/identity.ts";
import { Folder, Server } from "../support/executable.ts";
import { nodePath } from "../support/node-run.ts";
import { addUser, freshSubject } from "../support/peer.ts";
import { installMs, typescripts } from "../support/typescripts/index.ts";

const root = join(import.meta.dir, "..", "..");
const consumer = join(root, "test", "support", "consumer");
const bunTypes = join(root, "node_modules", "bun-types");
const tsc = join(root, "node_modules", ".bin", "tsc");
const bytesMax = 4_000_000;
const slowMs = 120_000;

let folder: Folder;
let packed: { readonly filename: string; readonly size: number; readonly files: readonly { readonly path: string }[] };
let typebox: string;

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command in a folder, with its own home: no cache or setting of this machine applies. */
async function run(command: readonly string[], cwd: string, env: Record<string, string> = {}): Promise<Ran> {
  const clean = {
    ...{ PATH: process.env.PATH ?? "", HOME: folder.path, NO_COLOR: "1", npm_config_update_notifier: "false" },
    ...{ BUN_INSTALL_CACHE_DIR: folder.file("bun-cache"), npm_config_cache: folder.file("npm-cache"), ...env },
  };
  const child = Bun.spawn([...command], { cwd, env: clean, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: await child.exited, stdout, stderr };
}

/** The output of a command that must succeed. */
async function printed(command: readonly string[], cwd: string, env?: Record<string, string>): Promise<string> {
  const { code, stdout, stderr } = await run(command, cwd, env);
  if (code !== 0) throw new Error(`${command.join(" ")}: exit ${code}\n${stdout}${stderr}`);
  return stdout;
}

/** Packs the package and its dependency. Returns what npm reports about each. */
async function pack(...sources: readonly string[]): Promise<readonly (typeof packed)[]> {
  const command = ["npm", "pack", ...sources, "--json", "--silent", "--pack-destination", folder.path];
  // Output of the package's own scripts precedes the JSON.
  const said = await printed(command, root);
  return JSON.parse(said.slice(said.indexOf("[\n")));
}

type Tool = "npm" | "bun";

/** Installs the package and its one dependency, both from their files, into an empty project. Returns the project. */
async function install(tool: Tool): Promise<string> {
  const home = folder.file(tool);
  mkdirSync(home);
  const files = { unibus: `file:../${packed.filename}`, "@sinclair/typebox": `file:../${typebox}` };
  const overrides = tool === "bun" ? { overrides: { "@sinclair/typebox": files["@sinclair/typebox"] } } : {};
  writeFileSync(join(home, "package.json"), JSON.stringify({ type: "module", dependencies: files, ...overrides }));
  const nowhere = "http://127.0.0.1:9";
  if (tool === "npm") await printed(["npm", "install", "--offline", "--no-audit", "--no-fund"], home);
  else await printed([process.execPath, "install", "--registry", nowhere], home);
  expect(readdirSync(join(home, "node_modules")).filter((entry) => !entry.startsWith("."))).toEqual([
    "@sinclair",
    "unibus",
  ]);
  return home;
}

const projects = new Map<Tool, Promise<string>>();

/** The project that a tool installed. The tests share it, each with files of its own. */
function project(tool: Tool): Promise<string> {
  const made = projects.get(tool) ?? install(tool);
  projects.set(tool, made);
  return made;
}

/** Type-checks some files of a project, with only the named type packages. */
function checked(home: string, files: readonly string[], options: object, compiler = [tsc]): Promise<Ran> {
  // Our declarations are checked, too, but not TypeScript's own.
  const checks = { strict: true, skipDefaultLibCheck: true };
  const base = { ...checks, noEmit: true, types: [], target: "ES2022", lib: ["ES2022", "DOM"] };
  writeFileSync(join(home, "tsconfig.json"), JSON.stringify({ compilerOptions: { ...base, ...options }, files }));
  return run([...compiler, "-p", "."], home);
}

beforeAll(async () => {
  folder = new Folder();
  const [own, dependency] = await pack(".", "./node_modules/@sinclair/typebox");
  if (own === undefined || dependency === undefined) throw new Error("npm packed nothing");
  packed = own;
  typebox = dependency.filename;
}, slowMs);
afterAll(() => folder[Symbol.dispose]());

test("the package contains what it needs, and nothing else", () => {
  const tops = new Set(
    packed.files.map(({ path }) =>
      path
        .split("/")
        .slice(0, path.startsWith("dist/") ? 2 : 1)
        .join("/"),
    ),
  );
  expect([...tops].sort()).toEqual([
    ...["LICENSE", "README.md", "dist/client", "dist/plugin", "dist/testing", "dist/types", "package.json"],
  ]);
  expect(packed.size).toBeLessThan(bytesMax);
});

describe("in an empty project", () => {
  let server: Server | undefined;
  let args: (subject: string) => string[];

  beforeAll(async () => {
    const bus = await Server.start();
    server = bus;
    const identity = identityText(await addUser(bus, "ana", { admin: true }));
    args = (subject) => [bus.ready.http, subject, identity];
  }, slowMs);
  afterAll(() => server?.[Symbol.asyncDispose](), slowMs);

  test.each(["node", "bun"] as const)(
    "on %s the client works",
    async (platform) => {
      const home = await project(platform === "node" ? "npm" : "bun");
      for (const file of ["client.mjs", "typed.ts"]) cpSync(join(consumer, file), join(home, file));
      const program = [platform === "node" ? nodePath() : process.execPath, "client.mjs"];
      const said = await printed([...program, ...args(freshSubject())], home);
      expect(JSON.parse(said)).toEqual({ texts: ["from the package"], code: "not_found" });
      expect(existsSync(join(home, "state", "rooms"))).toBe(true);
      for (const options of [
        { module: "NodeNext", moduleResolution: "NodeNext" },
        { module: "ESNext", moduleResolution: "bundler", exactOptionalPropertyTypes: true },
      ]) {
        expect(await checked(home, ["typed.ts"], options)).toEqual({ code: 0, stdout: "", stderr: "" });
      }
    },
    slowMs,
  );
});

test(
  "a plugin can be written, type checked, tested and bundled against it with Bun",
  async () => {
    const home = await project("bun");
    cpSync(join(root, "examples", "plugins"), home, { recursive: true });
    const show = 'import echo from "./echo.ts"; console.log(echo.name, echo.api);';
    writeFileSync(join(home, "show.ts"), show);
    expect(await printed([process.execPath, "show.ts"], home)).toBe("echo 1\n");
    const bundled = ["build", "echo.ts", "--target", "bun", "--external", "unibus/plugin", "--outfile", "out.js"];
    await printed([process.execPath, ...bundled], home);
    expect(readFileSync(join(home, "out.js"), "utf8")).toContain('from "unibus/plugin"');
    const suite = readFileSync(join(consumer, "store-suite.ts"), "utf8");
    writeFileSync(
      join(home, "store.test.ts"),
      suite.replace("../../../examples/plugins/store-memory.ts", "./store-memory"),
    );
    const options = { module: "ESNext", moduleResolution: "bundler", skipLibCheck: true, types: [bunTypes] };
    const typed = { ...options, target: "ESNext", lib: ["ESNext"] };
    expect(await checked(home, ["echo.ts", "store-memory.ts", "store.test.ts"], typed)).toEqual({
      code: 0,
      stdout: "",
      stderr: "",
    });
    const { code, stderr } = await run([process.execPath, "test", "store.test.ts"], home);
    expect([code, /[1-9]\d+ pass/.test(stderr), /^ 0 fail/m.test(stderr)]).toEqual([0, true, true]);
  },
  slowMs,
);

test(
  "a plugin and a client compile with TypeScript 5.4, 5.9, 6 and 7",
  async () => {
    const home = await project("npm");
    cpSync(join(root, "examples", "plugins", "echo.ts"), join(home, "echo.ts"));
    for (const file of ["typed.ts", "typed-plugin.ts"]) cpSync(join(consumer, file), join(home, file));
    const shared = { moduleDetection: "force", isolatedModules: true };
    const resolutions = [
      { module: "NodeNext", moduleResolution: "NodeNext", verbatimModuleSyntax: true },
      { module: "ESNext", moduleResolution: "bundler", exactOptionalPropertyTypes: true },
    ];
    for (const [index, [version, program]] of Object.entries(typescripts()).entries()) {
      const { version: installed } = JSON.parse(readFileSync(join(program, "..", "..", "package.json"), "utf8"));
      expect(installed).toStartWith(`${version}.`);
      // 5.9 and 7 check our declarations, too: no optional peer dependency is installed here.
      const skipLibCheck = !["5.9", "7"].includes(version);
      const options = { ...shared, ...resolutions[index % 2], skipLibCheck };
      const ran = await checked(home, ["echo.ts", "typed-plugin.ts", "typed.ts"], options, [nodePath(), program]);
      expect([version, ran]).toEqual([version, { code: 0, stdout: "", stderr: "" }]);
    }
  },
  installMs + slowMs,
);
