import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import type { Token } from "../contracts/plugin.ts";
import { type BootOptions, bootServices } from "../kernel/boot.ts";
import { UnibusError } from "../wire/errors.ts";
import { handleLengthMax } from "../wire/names.ts";
import { bootOptions } from "./bus.ts";
import { checkDataDir, type Ready } from "./data-dir.ts";
import { makeLog } from "./log.ts";
import type { PrintOptions } from "./print.ts";
import { type BusOptions, dataOption, flagOption, pluginsOption } from "./settings.ts";

/** The options of a command on a data directory. */
export type HostOptions = BusOptions & PrintOptions;

/** Gives a command the options that name its data directory and configuration. */
export function hostCommand(command: Command): Command {
  return command.addOption(dataOption()).addOption(pluginsOption()).addOption(flagOption());
}

/**
 * Runs `work` with one service over the store of a data directory, whether or not a server runs on it.
 * `creates`: whether it makes the directory where there is none. `insteadOf`: plugins by the name of the built-in whose
 * place they take. Errors: not_found where it does not.
 */
export async function onHost<S, T>(
  options: HostOptions,
  token: Token<S>,
  work: (service: S, site: { readonly url: string }) => Promise<T>,
  {
    creates = false,
    insteadOf = {},
  }: { readonly creates?: boolean; readonly insteadOf?: BootOptions["builtins"] } = {},
): Promise<T> {
  if (!creates) checkDataDir(options.data);
  const setup = bootOptions(options, await makeLog("json"));
  const bus = await bootServices({ ...setup, builtins: { ...setup.builtins, ...insteadOf } }, [token]);
  try {
    const service = bus.service(token);
    if (service === undefined) throw new UnibusError("invalid", `no plugin provides ${token.id} (see unibus plan)`);
    return await work(service, { url: bus.site.publicUrl ?? servedUrl(bus.site.dataDir) ?? bus.site.url() });
  } finally {
    await bus.stop();
  }
}

/** The URL at which people reach the server that runs on a data directory, or null. */
function servedUrl(dataDir: string): string | null {
  const file = join(dataDir, "ready.json");
  if (!existsSync(file)) return null;
  const { http, public_url } = JSON.parse(readFileSync(file, "utf8")) as Ready;
  return public_url ?? http;
}

/** A handle on the command line. */
export function handleArgument(text: string): string {
  const isFine = text.length > 0 && text.length <= handleLengthMax && !/[\u0000-\u001f\u007f]/.test(text);
  if (!isFine) throw new InvalidArgumentError(`A handle has 1 to ${handleLengthMax} characters.`);
  return text;
}
