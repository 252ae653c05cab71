import { createHash } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, isAbsolute, resolve } from "node:path";
import * as typebox from "@sinclair/typebox";
import * as typeboxValue from "@sinclair/typebox/value";
import { pluginFault } from "../contracts/declaration.ts";
import * as contracts from "../contracts/index.ts";
import type { Plugin } from "../contracts/plugin.ts";
import { type Row, refusal } from "./manifest.ts";

/** The built-in plugins by name, each with the function that imports it on demand. */
export type Builtins = Readonly<Record<string, () => Promise<{ readonly default: unknown }>>>;

const virtualModules: Record<string, Record<string, unknown>> = {
  "unibus/plugin": contracts,
  "@sinclair/typebox": typebox,
  "@sinclair/typebox/value": typeboxValue,
};

let served = false;

/** Serves the executable's own copy of the contracts and TypeBox to plugin files, so that classes and tokens match. */
function serveContracts(): void {
  if (served) return;
  served = true;
  Bun.plugin({
    name: "unibus",
    setup(build) {
      for (const [name, exports] of Object.entries(virtualModules)) {
        build.module(name, () => ({ exports, loader: "object" }));
      }
    },
  });
}

const isFile = (use: string): boolean => use.startsWith("./") || use.startsWith("../") || isAbsolute(use);

/** Returns the path of the file that a row names, after checking it against the row's sha256 pin. */
function pinnedFile(row: Row, manifestFile: string, requirePins: boolean): string {
  const file = resolve(dirname(manifestFile), row.use);
  const isThere = existsSync(file) && statSync(file).isFile();
  if (!isThere) throw refusal(manifestFile, `plugin ${row.use}: no file at ${file}`, "correct the path");
  const sum = createHash("sha256").update(readFileSync(file)).digest("hex");
  if (row.sha256 === undefined && requirePins) {
    throw refusal(manifestFile, `plugin ${row.use} has no sha256, but require_pins is set`, `add "sha256": "${sum}"`);
  }
  if (row.sha256 !== undefined && row.sha256 !== sum) {
    const what = `plugin ${row.use} has sha256 ${sum}, expected ${row.sha256}`;
    throw refusal(manifestFile, what, "review what changed in the file, then correct sha256");
  }
  return file;
}

async function importFile(file: string, row: Row, manifestFile: string): Promise<{ default?: unknown }> {
  serveContracts();
  try {
    return (await import(file)) as { default?: unknown };
  } catch (error) {
    const what = String((error as { message?: unknown } | null)?.message ?? error).split("\n")[0];
    throw refusal(manifestFile, `plugin ${row.use} failed to load: ${what}`, `see ${file}`);
  }
}

/**
 * Loads the plugin that a row names: a built-in, or a file next to the manifest. Errors: invalid, naming the file, the
 * plugin and the fix.
 */
export async function loadPlugin(
  row: Row,
  options: { readonly builtins: Builtins; readonly file: string; readonly requirePins: boolean },
): Promise<Plugin> {
  const load = Object.hasOwn(options.builtins, row.use) ? options.builtins[row.use] : undefined;
  if (load === undefined && !isFile(row.use)) {
    const known = Object.keys(options.builtins).join(", ");
    throw refusal(
      options.file,
      `unknown plugin ${row.use}`,
      `choose one of ${known}, or a file path that begins with ./`,
    );
  }
  if (load !== undefined && row.sha256 !== undefined) {
    throw refusal(options.file, `plugin ${row.use} is built in and cannot have a sha256`, "remove sha256");
  }
  const fromFile = () => importFile(pinnedFile(row, options.file, options.requirePins), row, options.file);
  const module = await (load ?? fromFile)();
  const fault = pluginFault(module.default);
  if (fault !== null) throw refusal(options.file, `plugin ${row.use}: ${fault.what}`, fault.hint);
  return module.default as Plugin;
}
