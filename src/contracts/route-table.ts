/** The routes of a whole plan, checked against each other. `plan` and boot use it before any plugin is set up. */
import { paramsOf, type RouteSpec } from "../wire/route.ts";
import { type DeclarationFault, routeFault } from "./declaration.ts";
import type { SocketRoute } from "./socket.ts";

/** The routes of one plugin. */
export interface RouteGroup {
  readonly plugin: string;
  readonly routes: readonly RouteSpec[];
}

/** The request that opens a WebSocket, as a route. */
export function upgradeOf({ path }: SocketRoute): RouteSpec {
  return { method: "GET", path, access: "public", summary: "WebSocket" };
}

/** Every beginning of a path that ends with a parameter, with its other parameters unnamed. */
function prefixesOf(path: string): string[] {
  const parts = path.split("/");
  const unnamed = (until: number) => parts.slice(0, until).map((part) => (part.startsWith(":") ? ":" : part));
  return parts.flatMap((part, i) => (part.startsWith(":") ? [[...unnamed(i), ":"].join("/")] : []));
}

/**
 * Finds a route that is declared wrongly, or routes that cannot be served together: the same method and path twice, one
 * place in a path with two parameter names, or a route for signed requests in a plan without authentication. Returns
 * null if there are none.
 */
export function routesFault(groups: readonly RouteGroup[], hasAuth: boolean): DeclarationFault | null {
  const owners = new Map<string, string>();
  const params = new Map<string, string>();
  for (const { plugin, routes } of groups) {
    for (const spec of routes) {
      const fault = routeFault(spec);
      if (fault !== null) return { ...fault, what: `plugin ${plugin}: ${fault.what}` };
      const { method, path, access } = spec;
      const name = `${method} ${path}`;
      const other = owners.get(name);
      if (other !== undefined) {
        const who = `plugins ${other} and ${plugin} both declare the route ${name}`;
        const what = other === plugin ? `plugin ${plugin} declares the route ${name} twice` : who;
        return { what, hint: "remove one of them" };
      }
      owners.set(name, plugin);
      for (const [i, prefix] of prefixesOf(path).entries()) {
        const param = paramsOf(path)[i] ?? "";
        const known = params.get(prefix) ?? param;
        if (known !== param) {
          const what = `plugin ${plugin}: route ${name}: the parameter :${param} is named :${known} in another route`;
          return { what, hint: `name it :${known}` };
        }
        params.set(prefix, param);
      }
      if (access !== "public" && !hasAuth) {
        const what = `plugin ${plugin}: route ${name}: access is ${access}, but no plugin provides auth`;
        return { what, hint: `add { "use": "auth" }` };
      }
    }
  }
  return null;
}

/** Returns a function that looks up the methods with which some routes serve a path. */
export function methodTable(routes: readonly RouteSpec[]): (path: string) => string[] {
  const table = routes.map(({ method, path }) => {
    const shape = path.replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replace(/:[a-z_]+/g, "[^/]+");
    return { method, shape: new RegExp(`^${shape}$`) };
  });
  return (path) => table.filter(({ shape }) => shape.test(path)).map(({ method }) => method);
}
