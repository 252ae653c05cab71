import { UnibusError } from "../wire/errors.ts";
import { builtinNamespaces, namespaceFault } from "../wire/names.ts";

/**
 * The first tokens that the subjects of rooms may have: the built-in ones and those that a plugin's setting
 * `namespaces` adds. Errors: invalid, naming the setting, for one that cannot be a namespace.
 */
export function allNamespaces(plugin: string, added: readonly string[] = []): string[] {
  for (const namespace of added) {
    const fault = namespaceFault(namespace);
    if (fault !== null) throw new UnibusError("invalid", `${plugin}.namespaces: ${namespace}: ${fault}`);
  }
  return [...new Set([...builtinNamespaces, ...added])];
}
