/**
 * The options that name a bus's data directory and its configuration, and how they become a manifest with overrides.
 * Precedence, lowest first: plugins.json (`--plugins`, the data directory's, or the built-in one), plugin files from
 * `--plugin`, then flags and settings from the environment, those from `--flag` and `--set`, and the dedicated options.
 * serve, plan and all host commands use this.
 */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { InvalidArgumentError, Option } from "commander";
import manifestDefault from "../../plugins.json";
import { extended, type Manifest, type Overrides, parseManifest } from "../kernel/manifest.ts";
import { rowsInForce } from "../kernel/plan.ts";
import { UnibusError } from "../wire/errors.ts";
import { dataDirDefault } from "./server/data-dir.ts";

type Flag = readonly [name: string, on: boolean];
type Setting = readonly [plugin: string, key: string, value: unknown];

/** The options that name a bus and configure it. */
export interface BusOptions {
  readonly data: string;
  readonly plugins?: string;
  readonly plugin?: readonly string[];
  readonly flag?: readonly Flag[];
  readonly set?: readonly Setting[];
  readonly http?: string;
  readonly nats?: string;
  readonly ws?: string;
  readonly publicUrl?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
}

function parseFlag(text: string): Flag {
  const [, name, state] = /^([a-z][a-z0-9-]*)=(on|off)$/.exec(text) ?? [];
  if (name === undefined) throw new InvalidArgumentError("Write NAME=on or NAME=off.");
  return [name, state === "on"];
}

/** Parses a value as JSON, or else takes it as a string. */
function parseValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function parseSetting(text: string): Setting {
  const [, plugin, key, value] = /^([a-z][a-z0-9.-]*)\.([a-z_]+)=(.*)$/s.exec(text) ?? [];
  if (plugin === undefined || key === undefined || value === undefined) {
    throw new InvalidArgumentError("Write PLUGIN.KEY=VALUE.");
  }
  return [plugin, key, parseValue(value)];
}

const collected =
  <T>(parse: (text: string) => T) =>
  (text: string, before: readonly T[] = []): readonly T[] => [...before, parse(text)];

/** The option `--data DIR`. */
export function dataOption(): Option {
  return new Option("--data <dir>", "the data directory").env("UNIBUS_DATA").default(dataDirDefault);
}

/** The option `--plugins FILE`. `usual` describes the default. */
export function pluginsOption(usual = "plugins.json in the data directory, or the built-in one"): Option {
  return new Option("--plugins <file>", `the configuration (default: ${usual})`).env("UNIBUS_PLUGINS");
}

/** The repeatable option `--plugin FILE`. UNIBUS_PLUGIN holds one per line. `usual` describes the default. */
export function pluginOption(usual = "none"): Option {
  const what = `add a plugin file to those of the configuration; repeatable (default: ${usual}) (env: UNIBUS_PLUGIN, one per line)`;
  return new Option("--plugin <file>", what).argParser(collected((text: string) => text));
}

/** The plugin files added by the command line and the environment, as absolute paths. */
export function addedPlugins(options: BusOptions): string[] {
  const files = listed(options.plugin, "--plugin", "UNIBUS_PLUGIN", "\n", (text) => text);
  return [...new Set(files.map((file) => resolve(file)))];
}

/** The repeatable option `--flag NAME=on|off`. UNIBUS_FLAGS holds a comma-separated list. `usual` is the default. */
export function flagOption(usual = "as the configuration says"): Option {
  const what = `turn a feature flag on or off; repeatable (default: ${usual}) (env: UNIBUS_FLAGS, comma-separated)`;
  return new Option("--flag <name=on|off>", what).argParser(collected(parseFlag));
}

/** The repeatable option `--set PLUGIN.KEY=VALUE`. UNIBUS_SET holds one per line. */
export function setOption(): Option {
  return new Option(
    "--set <plugin.key=value>",
    "set one key of a plugin or of http; the value is JSON or plain text; repeatable (env: UNIBUS_SET, one per line)",
  ).argParser(collected(parseSetting));
}

/** Values from the environment, followed by those of the option. */
function listed<T>(
  given: readonly T[] | undefined,
  option: string,
  variable: string,
  separator: string,
  parse: (text: string) => T,
): T[] {
  const texts = (process.env[variable] ?? "").split(separator).map((text) => text.trim());
  const parsed = texts.filter(Boolean).map((text) => {
    try {
      return parse(text);
    } catch (error) {
      const what = `option '${option}' value '${text}' from env '${variable}' is invalid`;
      throw new InvalidArgumentError(`${what}. ${(error as Error).message}`);
    }
  });
  return [...parsed, ...(given ?? [])];
}

/**
 * Builds the overrides from options and environment. General server settings, such as TLS files, apply to nats-server
 * only if it is the embedded one.
 */
export function overridesOf(options: BusOptions, manifest: Manifest): Overrides {
  const flags = Object.fromEntries(listed(options.flag, "--flag", "UNIBUS_FLAGS", ",", parseFlag));
  const rows = rowsInForce(manifest, { ...manifest.flags, ...flags });
  const isCarried = rows.some(({ use }) => use === "nats-embedded");
  const settings: Record<string, Record<string, unknown>> = {};
  const put = (plugin: string, key: string, value: unknown): void => {
    if (value === undefined) return;
    settings[plugin] = { ...settings[plugin], [key]: value };
  };
  if (isCarried) put("nats-embedded", "binary", process.env.UNIBUS_NATS_SERVER || undefined);
  for (const setting of listed(options.set, "--set", "UNIBUS_SET", "\n", parseSetting)) put(...setting);
  put("http", "listen", options.http);
  put("http", "public_url", options.publicUrl);
  put("http", "tls_cert", options.tlsCert);
  put("http", "tls_key", options.tlsKey);
  if (isCarried) put("nats-embedded", "tls_cert", options.tlsCert);
  if (isCarried) put("nats-embedded", "tls_key", options.tlsKey);
  put("nats-embedded", "listen", options.nats);
  put("nats-embedded", "ws", options.ws);
  return { flags, settings };
}

/** Reads the configuration of a command, and the file that error messages name. */
export function manifestOf(options: BusOptions): { manifest: Manifest; file: string } {
  const { manifest, file } = manifestFile(options);
  const whole = extended(manifest, manifestDefault as Manifest);
  const added = addedPlugins(options).map((use) => ({ use }));
  return { manifest: { ...whole, plugins: [...whole.plugins, ...added] }, file };
}

function manifestFile(options: BusOptions): { manifest: Manifest; file: string } {
  const beside = join(options.data, "plugins.json");
  const file = options.plugins ?? (existsSync(beside) ? beside : null);
  if (file === null) return { manifest: manifestDefault as Manifest, file: "built-in plugins.json" };
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new UnibusError("invalid", `${file}: it cannot be read (correct --plugins)`, { cause: error });
  }
  return { manifest: parseManifest(text, file), file: resolve(file) };
}
