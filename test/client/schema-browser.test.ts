/**
 * The routes and schemas in the bundle for browsers: every reply is judged as by TypeBox, for the replies of all routes
 * and for values that differ from a valid one in one place, and requests go where the server expects them.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Type as Full, type TSchema } from "@sinclair/typebox";
import { Check as checkFull } from "@sinclair/typebox/value";
import fc from "fast-check";
import { bundle } from "../../scripts/build-client.ts";
import { Check, type Schema, Type } from "../../src/client/transport/schema-browser.ts";
import { isBytes, type RouteSpec } from "../../src/wire/route.ts";
import { routes } from "../../src/wire/routes.ts";
import { Folder } from "../support/executable.ts";

type Routes = Readonly<Record<string, Readonly<Record<string, RouteSpec>>>>;

const all = Object.entries(routes as Routes).flatMap(([group, list]) =>
  Object.entries(list).map(([name, spec]) => ({ route: `${group}.${name}`, spec })),
);
const replies = all.flatMap(({ route, spec: { reply } }) =>
  reply === undefined || isBytes(reply) ? [] : [{ route, reply }],
);

const folder = new Folder();
/** The routes as the bundle for browsers has them, by their names above. */
let bundled: ReadonlyMap<string, RouteSpec>;

beforeAll(async () => {
  const entry = join("src", "wire", "routes.ts");
  const file = await bundle({ entry, platform: "browser", folder: folder.path, name: "routes" });
  const made = (await import(file)) as { readonly routes: Routes };
  const named = ([group, list]: [string, Routes[string]]) =>
    Object.entries(list).map(([name, spec]) => [`${group}.${name}`, spec] as const);
  bundled = new Map(Object.entries(made.routes).flatMap(named));
}, 60_000);
afterAll(() => folder[Symbol.dispose]());

const patternsOf = (schema: RouteSpec["params"]) =>
  Object.fromEntries(
    Object.entries(schema?.properties ?? {}).flatMap(([name, { pattern }]) =>
      pattern === undefined ? [] : [[name, pattern as string]],
    ),
  );

/** What decides about a request, and whether its reply is read. */
const requestBy = ({ method, path, access, params, query, body, reply }: RouteSpec) => ({
  ...{ method, path, isPublic: access === "public", params: patternsOf(params), query: patternsOf(query) },
  ...{ sendsBytes: isBytes(body), reply: reply === undefined ? "none" : isBytes(reply) ? "bytes" : "JSON" },
});

test("the bundle has all routes, and makes the same requests", () => {
  expect([...bundled.keys()]).toEqual(all.map(({ route }) => route));
  for (const { route, spec } of all) {
    expect({ route, ...requestBy(bundled.get(route) as RouteSpec) }).toEqual({ route, ...requestBy(spec) });
  }
});

const junk: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(null, true, "", "ok", 0, -1, 1.5, 2 ** 53, [], {}, { __proto__: null }, "0".repeat(64)),
  fc.jsonValue(),
);

/** Values that often fit a schema, and often miss it in one place. */
function near(schema: Schema): fc.Arbitrary<unknown> {
  return fc.oneof({ weight: 12, arbitrary: fitting(schema) }, { weight: 1, arbitrary: junk });
}

function fitting(schema: Schema): fc.Arbitrary<unknown> {
  const { minimum = -5, maximum = 5, pattern, properties = {}, items = {} } = schema;
  if (schema.anyOf !== undefined) return fc.oneof(...schema.anyOf.map(near));
  if ("const" in schema) return fc.constant(schema.const);
  if (schema.type === "integer") return fc.integer({ min: minimum - 1, max: Math.min(maximum, 2 ** 31) + 1 });
  if (schema.type === "boolean") return fc.boolean();
  if (schema.type === "null") return fc.constant(null);
  if (schema.type === "array") return fc.array(near(items), { maxLength: 3 });
  if (schema.type === "string") return pattern === undefined ? fc.string() : fc.stringMatching(new RegExp(pattern));
  if (schema.type === undefined) return junk;
  const values = Object.values((schema.patternProperties ?? {}) as Record<string, Schema>);
  if (values[0] !== undefined) return fc.dictionary(fc.string(), near(values[0]), { maxKeys: 3 });
  const extra = fc.oneof(
    { weight: 9, arbitrary: fc.constant({}) },
    { weight: 1, arbitrary: fc.object({ maxDepth: 1 }) },
  );
  const parts = Object.fromEntries(Object.entries(properties).map(([name, inner]) => [name, near(inner)]));
  const object = fc.oneof(
    { weight: 9, arbitrary: fc.record(parts) },
    { weight: 1, arbitrary: fc.record(parts, { requiredKeys: [] }) },
  );
  return fc.tuple(object, extra).map(([own, more]) => ({ ...more, ...own }));
}

test.each(replies)("the reply of $route", ({ route, reply }) => {
  const own = bundled.get(route)?.reply as Schema;
  const property = fc.property(near(reply as Schema), (given) => {
    // What a client checks was parsed from JSON.
    const value: unknown = JSON.parse(JSON.stringify(given));
    expect([value, Check(own, value)]).toEqual([value, checkFull(reply, value)]);
  });
  fc.assert(property, { numRuns: 60 });
});

/** A schema as the builders for browsers make it: TypeBox writes the values of a record under another pattern. */
function browserForm(schema: TSchema): Schema {
  return JSON.parse(JSON.stringify(schema), (key, value) => {
    return key === "patternProperties" ? { "": Object.values(value)[0] } : value;
  }) as Schema;
}

test("the builders make the schemas that TypeBox makes", () => {
  const make = (type: typeof Type) =>
    type.Object(
      {
        a: type.Array(type.Literal("x"), { maxItems: 3 }),
        b: type.Optional(type.Integer({ minimum: 1 })),
        c: type.Union([type.String({ pattern: "^a" }), type.Null()], { description: "c" }),
        d: type.Record(type.String(), type.Boolean()),
        e: type.Object({ f: type.Optional(type.Unknown()) }, { additionalProperties: false }),
      },
      { additionalProperties: false },
    );
  const sorted = (schema: unknown) =>
    JSON.stringify(schema, (_, value) =>
      typeof value === "object" && value !== null && !Array.isArray(value)
        ? Object.fromEntries(
            Object.entries(value)
              .filter(([key, one]) => key !== "type" || one !== undefined)
              .sort(),
          )
        : value,
    ).replaceAll('"type":"string"', "");
  const full = browserForm(make(Full as never) as TSchema);
  expect(sorted(make(Type)).replace('"const":"x"', "")).toBe(sorted(full).replace(/"const":"x",?/, ""));
});

test("the builders are all that src/wire uses", () => {
  for (const file of ["api.ts", "route.ts", "routes.ts"]) {
    const text = readFileSync(join(import.meta.dir, "..", "..", "src", "wire", file), "utf8");
    for (const [, name = ""] of text.matchAll(/\bType\.([A-Z]\w+)/g)) expect(Object.keys(Type)).toContain(name);
  }
});

test("a schema of an unknown kind is an error, not a value that fits", () => {
  expect(() => Check({ type: "number" as never }, 1)).toThrow(TypeError);
});
