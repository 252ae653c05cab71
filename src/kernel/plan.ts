import { Auth } from "../contracts/auth.ts";
import type { Plugin } from "../contracts/plugin.ts";
import { type RouteGroup, routesFault } from "../contracts/route-table.ts";
import { routes } from "../wire/routes.ts";
import { type Manifest, type Overrides, type Row, refusal } from "./manifest.ts";

/** A plugin with the row that selected it. */
export interface Chosen {
  readonly row: Row;
  readonly plugin: Plugin;
}

/** Returns the flags after overrides. Errors: invalid for a flag that the manifest does not declare. */
export function flagsInForce(manifest: Manifest, overrides: Overrides, file: string): Record<string, boolean> {
  const flags = { ...manifest.flags };
  const known = Object.keys(flags);
  const hint = known.length > 0 ? `flags of ${file}: ${known.join(", ")}` : `declare it in ${file}`;
  for (const [name, on] of Object.entries(overrides.flags)) {
    if (!Object.hasOwn(flags, name)) throw refusal("--flag", `unknown flag ${name}`, hint);
    flags[name] = on;
  }
  for (const row of manifest.plugins) {
    for (const name of [row.when, row.unless]) {
      if (name !== undefined && !Object.hasOwn(flags, name)) {
        throw refusal(file, `plugin ${row.use} uses the unknown flag ${name}`, `declare it under "flags"`);
      }
    }
  }
  return flags;
}

/** Returns the rows whose `when` and `unless` flags match, in file order. */
export function rowsInForce(manifest: Manifest, flags: Readonly<Record<string, boolean>>): Row[] {
  return manifest.plugins.filter(
    (row) => (row.when === undefined || flags[row.when]) && (row.unless === undefined || !flags[row.unless]),
  );
}

const ids = (tokens: Plugin["provides"]): string[] => Object.values(tokens ?? {}).map((token) => token.id);

/**
 * Sorts plugins so that each comes after its dependencies; otherwise the file's order is kept. Errors: invalid for a
 * duplicate name or token, a required token without a provider, or a cycle.
 */
export function inOrder(chosen: readonly Chosen[], file: string): Chosen[] {
  const byName = new Map<string, Chosen>();
  const providers = new Map<string, string>();
  for (const one of chosen) {
    const { name } = one.plugin;
    if (byName.has(name)) throw refusal(file, `plugin ${name} is listed twice`, "remove one of the rows");
    byName.set(name, one);
    for (const id of ids(one.plugin.provides)) {
      const other = providers.get(id);
      if (other !== undefined) {
        throw refusal(file, `plugins ${other} and ${name} both provide ${id}`, "choose one with a flag");
      }
      providers.set(id, name);
    }
  }
  const needs = (one: Chosen): string[] => {
    const required = ids(one.plugin.requires);
    const missing = required.find((id) => !providers.has(id));
    if (missing !== undefined) {
      throw refusal(
        file,
        `plugin ${one.plugin.name} needs ${missing}, which no plugin provides`,
        `add a plugin that provides it`,
      );
    }
    return [...required, ...ids(one.plugin.optional)].flatMap((id) => providers.get(id) ?? []);
  };
  const done = new Set<string>();
  const ordered: Chosen[] = [];
  const visit = (one: Chosen, path: readonly string[]): void => {
    const { name } = one.plugin;
    if (done.has(name)) return;
    if (path.includes(name)) {
      const cycle = [...path.slice(path.indexOf(name)), name].join(" -> ");
      throw refusal(file, `circular plugin dependency: ${cycle}`, "move a service to a plugin of its own");
    }
    for (const need of needs(one)) {
      const provider = byName.get(need);
      if (provider !== undefined) visit(provider, [...path, name]);
    }
    done.add(name);
    ordered.push(one);
  };
  for (const one of chosen) visit(one, []);
  return ordered;
}

/** Returns the declared routes of the bus and of each plugin. Errors: those of `checkRoutes`. */
export function routesOf(chosen: readonly Chosen[], file: string): RouteGroup[] {
  const groups = [
    { plugin: "bus", routes: Object.values(routes.bus) },
    ...chosen.map(({ plugin }) => ({ plugin: plugin.name, routes: plugin.routes ?? [] })),
  ];
  const hasAuth = chosen.some(({ plugin }) => ids(plugin.provides).includes(Auth.id));
  checkRoutes(groups, hasAuth, file);
  return groups;
}

/** Checks the routes of a plan. Errors: invalid, naming plugin, route and fix. */
export function checkRoutes(groups: readonly RouteGroup[], hasAuth: boolean, file: string): void {
  const fault = routesFault(groups, hasAuth);
  if (fault !== null) throw refusal(file, fault.what, fault.hint);
}

/** Returns the sorted plugins that some tokens need, directly or indirectly. */
export function closure<C extends Chosen>(ordered: readonly C[], tokens: readonly { readonly id: string }[]): C[] {
  const wanted = new Set(tokens.map(({ id }) => id));
  const kept: C[] = [];
  // Iterate backwards, so that a plugin comes after all that need it.
  for (const one of [...ordered].reverse()) {
    if (!ids(one.plugin.provides).some((id) => wanted.has(id))) continue;
    for (const id of ids(one.plugin.requires)) wanted.add(id);
    kept.unshift(one);
  }
  return kept;
}
