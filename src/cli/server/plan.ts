import { resolve } from "node:path";
import { planBus } from "../../kernel/boot.ts";
import { CliCommand } from "../cli-command.ts";
import { makeLog } from "../log.ts";
import { type PrintOptions, printJson, printLine } from "../print.ts";
import { type BusOptions, dataOption, flagOption, pluginOption, pluginsOption, setOption } from "../settings.ts";
import { bootOptions } from "./bus.ts";

const ids = (tokens: Readonly<Record<string, { readonly id: string }>> | undefined): string[] =>
  Object.values(tokens ?? {}).map(({ id }) => id);

async function plan(options: BusOptions & PrintOptions): Promise<void> {
  const { flags, plugins } = await planBus(bootOptions(options, await makeLog("json"), resolve));
  const rows = plugins.map(({ plugin, row }) => ({
    name: plugin.name,
    use: row.use,
    provides: ids(plugin.provides),
    requires: ids(plugin.requires),
    optional: ids(plugin.optional),
    routes: (plugin.routes ?? []).map(({ method, path }) => `${method} ${path}`),
  }));
  if (options.json) return printJson({ flags, plugins: rows });
  for (const [name, on] of Object.entries(flags)) printLine(`flag ${name} is ${on ? "on" : "off"}`);
  const width = Math.max(0, ...rows.map(({ name }) => name.length));
  rows.forEach(({ name, provides, requires, routes }, index) => {
    const served = routes.length === 0 ? [] : [routes.length === 1 ? "1 route" : `${routes.length} routes`];
    const gives = `gives ${[...provides, ...served].join(", ") || "nothing"}`;
    const needs = requires.length > 0 ? `, needs ${requires.join(", ")}` : "";
    printLine(`${String(index + 1).padStart(2)}  ${name.padEnd(width)}  ${gives}${needs}`);
  });
}

/** The command `plan`, which checks the configuration and prints the plugins that would be set up, in order. */
export function planCommand(): CliCommand {
  return new CliCommand("plan", {
    summary: "check the configuration, and print the plugins in the order in which serve sets them up",
    example: "unibus plan --flag decentralized=on",
  })
    .addOption(dataOption())
    .addOption(pluginsOption())
    .addOption(pluginOption())
    .addOption(flagOption())
    .addOption(setOption())
    .option("--json", "print JSON")
    .action(plan);
}
