import { existsSync } from "node:fs";
import { join } from "node:path";
import { Denials } from "../../contracts/denials.ts";
import type { Token } from "../../contracts/plugin.ts";
import { type BootOptions, type Bus, bootServices, planBus } from "../../kernel/boot.ts";
import { closure } from "../../kernel/plan.ts";
import { attached } from "../../plugins/index.ts";
import { UnibusError } from "../../wire/errors.ts";
import type { CliCommand } from "../cli-command.ts";
import { makeLog } from "../log.ts";
import { type PrintOptions, printNote } from "../print.ts";
import { type BusOptions, dataOption, flagOption, pluginOption, pluginsOption } from "../settings.ts";
import { bootOptions } from "./bus.ts";
import { checkDataDir, DirectoryLock, isServed, lastServe, noBus } from "./data-dir.ts";

/** The options of a command on a data directory. */
export type HostOptions = BusOptions & PrintOptions;

/** Adds the options for the data directory and the configuration to a command. */
export function hostCommand(command: CliCommand): CliCommand {
  const usual = "as last served";
  return command
    .addOption(dataOption())
    .addOption(pluginsOption(usual))
    .addOption(pluginOption(usual))
    .addOption(flagOption(usual));
}

/** The boot options of a command on a data directory: the plugins and flags with which it was last served. */
export async function hostSetup(options: HostOptions): Promise<BootOptions> {
  const last = lastServe(options.data);
  const plugins = options.plugins ?? last.plugins ?? undefined;
  const remembered = [
    ...(options.plugins === undefined && plugins !== undefined ? [plugins] : []),
    ...(options.plugin === undefined ? last.added : []),
  ];
  const gone = remembered.find((file) => !existsSync(file));
  if (gone !== undefined) {
    const what = `${gone}, with which ${options.data} was last served, does not exist`;
    throw new UnibusError("not_found", `${what} (put it back, or name the files with --plugins and --plugin)`);
  }
  const named = { ...options, plugin: options.plugin ?? last.added, ...(plugins === undefined ? {} : { plugins }) };
  const setup = bootOptions(named, await makeLog("json"));
  const known = Object.keys(setup.manifest.flags ?? {});
  const served = Object.entries(last.flags).filter(([name]) => known.includes(name));
  const { overrides } = setup;
  return { ...setup, overrides: { ...overrides, flags: { ...Object.fromEntries(served), ...overrides.flags } } };
}

/** Locks a directory, or returns null if a running server has it. Errors: conflict while a server is starting. */
function lockUnlessServed(dataDir: string): DirectoryLock | null {
  try {
    return new DirectoryLock(dataDir);
  } catch (error) {
    if (isServed(dataDir)) return null;
    throw error;
  }
}

/** The same setup, with nats-server on free ports so that it conflicts with no other server. */
function onFreePorts(setup: BootOptions): BootOptions {
  const { settings } = setup.overrides;
  const nats = { ...settings["nats-embedded"], listen: "127.0.0.1:0", ws: "127.0.0.1:0" };
  return { ...setup, overrides: { ...setup.overrides, settings: { ...settings, "nats-embedded": nats } } };
}

/** Whether the data behind some tokens exists already. Data in another place counts as existing. */
async function hasRows(setup: BootOptions, tokens: readonly Token<unknown>[]): Promise<boolean> {
  const needed = closure((await planBus(setup)).plugins, tokens);
  const configOf = (name: string) => needed.find(({ plugin }) => plugin.name === name)?.config;
  const sqlite = configOf("store-sqlite") as { readonly file?: string } | undefined;
  if (sqlite !== undefined) return existsSync(join(setup.dataDir, sqlite.file ?? "unibus.db"));
  return configOf("nats-embedded") === undefined || existsSync(join(setup.dataDir, "internal.json"));
}

/**
 * Boots the services that some tokens need. Plugins that only one process may run are borrowed from the running server.
 * Without a server they run here under the lock, which is released after the bus has stopped.
 */
export async function bootOnHost(
  setup: BootOptions,
  tokens: readonly Token<unknown>[],
): Promise<{ bus: Bus; lock: DirectoryLock | null }> {
  // A command that takes access away must record a denial, as the server does.
  const wanted = [...tokens, Denials];
  const isNeeded = closure((await planBus(setup)).plugins, wanted).some(({ plugin }) => plugin.name in attached);
  const lock = isNeeded ? lockUnlessServed(setup.dataDir) : null;
  const builtins = { ...setup.builtins, ...attached };
  try {
    const bus = await bootServices(lock === null ? { ...setup, builtins } : onFreePorts(setup), wanted);
    return { bus, lock };
  } catch (error) {
    lock?.release();
    throw error;
  }
}

/**
 * Runs `work` with one service of a data directory, whether or not a server is running on it. `creates`: creates the
 * directory if it is missing. `needsServer`: a server must be running.
 * Errors: not_found for a missing directory; unavailable if a server is needed and none is running.
 */
export async function onHost<S, T>(
  options: HostOptions,
  token: Token<S>,
  work: (service: S, site: { readonly url: string }) => Promise<T>,
  { creates = false, needsServer = false }: { readonly creates?: boolean; readonly needsServer?: boolean } = {},
): Promise<T> {
  if (!creates) checkDataDir(options.data);
  const setup = await hostSetup(options);
  const isNew = !(await hasRows(setup, [token]));
  if (isNew && !creates) throw noBus(options.data);
  if (needsServer && !isServed(options.data)) {
    const hint = "start it with unibus serve, then try again";
    throw new UnibusError("unavailable", `no server runs on ${options.data} (${hint})`);
  }
  const { bus, lock } = await bootOnHost(setup, [token]);
  try {
    const service = bus.service(token);
    if (service === undefined) throw new UnibusError("invalid", `no plugin provides ${token.id} (see unibus plan)`);
    const done = await work(service, { url: bus.site.publicUrl ?? lastServe(options.data).url ?? bus.site.url() });
    if (isNew) printNote(`note: created a new bus in ${options.data}, where there was none (check --data)`);
    return done;
  } finally {
    await bus.stop();
    lock?.release();
  }
}
