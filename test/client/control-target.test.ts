/**
 * The client derives its requests from the same table of routes as the server. A path parameter or query value that
 * the server chose must not turn a request into another one. Source: docs/reference/http.md.
 */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { targetOf } from "../../src/client/transport/control-target.ts";
import { hasCode } from "../../src/wire/errors.ts";
import { paramsOf, type RouteSpec } from "../../src/wire/route.ts";
import { routes } from "../../src/wire/routes.ts";

const all: readonly RouteSpec[] = Object.values(routes).flatMap((group) => Object.values(group));
const named = all.map((spec) => [`${spec.method} ${spec.path}`, spec] as const);

/** A valid value of each path parameter. */
const valid: Readonly<Record<string, string>> = {
  id: "01ARZ3NDEKTSV4RRFFQ69G5FAV",
  endpoint: "A".repeat(43),
  hash: "0".repeat(64),
  seq: "1",
  sign_pub: "0".repeat(64),
};
const paramsFor = ({ path }: RouteSpec): Record<string, string> => ({
  ...valid,
  ...(path.startsWith("/invites") ? { id: "0".repeat(32) } : {}),
});
const isRefused = (work: () => unknown): boolean => {
  try {
    work();
    return false;
  } catch (error) {
    return hasCode(error, "invalid");
  }
};

test.each(named)("%s names each of its path parameters, with an anchored pattern", (_, spec) => {
  const properties = spec.params?.properties ?? {};
  expect(Object.keys(properties).sort()).toEqual(paramsOf(spec.path).sort());
  for (const { pattern } of Object.values(properties)) expect(pattern).toMatch(/^\^.*\$$/);
});

test.each(named)("%s takes no path parameter that would make it another request", (_, spec) => {
  const good = paramsFor(spec);
  expect(targetOf(spec, { params: good })).toBe(
    spec.path.replace(/:([a-z_]+)/g, (_, name: string) => good[name] ?? ""),
  );
  for (const name of paramsOf(spec.path)) {
    for (const bad of ["", ".", "..", "../x", "a/b", "%2e%2e", "x?y", "x#y", `${good[name]}/`, `${good[name]}\n`]) {
      const isCaught = isRefused(() => targetOf(spec, { params: { ...good, [name]: bad } }));
      expect([name, bad, isCaught]).toEqual([name, bad, true]);
    }
    expect(isRefused(() => targetOf(spec, { params: { ...good, [name]: undefined } }))).toBe(true);
  }
});

describe("a query", () => {
  const { directory } = routes.users;

  test("holds what is given, escaped; null and undefined are left out", () => {
    expect(targetOf(directory, { query: { handle: "a&b=c d#", after: null, limit: 2 } })).toBe(
      "/directory?handle=a%26b%3Dc+d%23&limit=2",
    );
    expect(targetOf(directory, { query: { handle: undefined } })).toBe("/directory");
  });

  test("takes no value that its pattern forbids", () => {
    const bind = (device: string) => targetOf(routes.durables.bind, { params: valid, query: { device } });
    expect(bind("phone")).toBe(`/rooms/${valid.id}/durable?device=phone`);
    for (const bad of ["", "Phone", "a b", "a&limit=1"]) expect(isRefused(() => bind(bad))).toBe(true);
  });
});

test("the client spells no path of a route itself", () => {
  const folder = join(import.meta.dir, "../../src/client");
  const words = [...new Set(all.map(({ path }) => path.split("/")[1] ?? ""))];
  const spelled = new RegExp(`["'\`]/(${words.join("|")})\\b`);
  const found = [...new Bun.Glob("**/*.ts").scanSync(folder)]
    // The published test vectors spell their targets, which are part of the signed text.
    .filter((file) => file !== "vectors.ts")
    .filter((file) => spelled.test(readFileSync(join(folder, file), "utf8").replace(/\/\*.*?\*\//gs, "")));
  expect(found).toEqual([]);
});
