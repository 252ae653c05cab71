/**
 * Schemas in a browser judge every reply as TypeBox does: for the replies of all routes, and for values that differ
 * from a valid one in one place.
 */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Type as Full, type TSchema } from "@sinclair/typebox";
import { Check as checkFull } from "@sinclair/typebox/value";
import fc from "fast-check";
import { Check, type Schema, Type } from "../../src/client/transport/schema-browser.ts";
import { Bytes, type RouteSpec } from "../../src/wire/route.ts";
import { routes } from "../../src/wire/routes.ts";

const replies = Object.entries(routes).flatMap(([group, list]) =>
  Object.entries(list as Record<string, RouteSpec>).flatMap(([name, { reply }]) =>
    reply === undefined || reply === Bytes ? [] : [{ route: `${group}.${name}`, reply }],
  ),
);

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

test.each(replies)("the reply of $route", ({ reply }) => {
  const property = fc.property(near(reply as Schema), (given) => {
    // What a client checks was parsed from JSON.
    const value: unknown = JSON.parse(JSON.stringify(given));
    expect([value, Check(browserForm(reply), value)]).toEqual([value, checkFull(reply, value)]);
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
