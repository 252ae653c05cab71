/**
 * Schemas in a browser: the part of TypeBox that `src/wire` uses to declare them, and `Check`, which takes replies only
 * if they have the declared shape. The bundle for browsers has this file in place of TypeBox, whose schemas and checks
 * are as large as all cryptography together. `test/client/schema-browser.test.ts` compares the two.
 */

/** A JSON Schema, as TypeBox makes it. */
export interface Schema {
  readonly type?: "array" | "boolean" | "integer" | "null" | "object" | "string";
  readonly const?: unknown;
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly patternProperties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly pattern?: string;
}

type Options = Readonly<Record<string, unknown>>;

/** Marks the schema of a property that may be missing. */
const optional = Symbol("optional");
const isOptional = (schema: Schema): boolean => optional in schema;

/** An object whose required properties are those that are not optional. */
function objectOf(properties: Readonly<Record<string, Schema>>, options: Options = {}): Schema {
  const required = Object.keys(properties).filter((name) => !isOptional(properties[name] as Schema));
  return { ...options, type: "object", properties, ...(required.length === 0 ? {} : { required }) };
}

/** The builders of schemas, by TypeBox's names. */
export const Type = {
  Array: (items: Schema, options: Options = {}): Schema => ({ ...options, type: "array", items }),
  Boolean: (options: Options = {}): Schema => ({ ...options, type: "boolean" }),
  Integer: (options: Options = {}): Schema => ({ ...options, type: "integer" }),
  Literal: (value: string, options: Options = {}): Schema => ({ ...options, const: value }),
  Null: (options: Options = {}): Schema => ({ ...options, type: "null" }),
  Object: objectOf,
  Optional: (schema: Schema): Schema => Object.assign({}, schema, { [optional]: true }),
  Record: (_: Schema, values: Schema, options: Options = {}): Schema => {
    return { ...options, type: "object", patternProperties: { "": values } };
  },
  String: (options: Options = {}): Schema => ({ ...options, type: "string" }),
  Union: (anyOf: readonly Schema[], options: Options = {}): Schema => ({ ...options, anyOf }),
  Unknown: (options: Options = {}): Schema => ({ ...options }),
  Unsafe: (schema: Schema): Schema => ({ ...schema }),
} as const;

const isWithin = (value: number, least = Number.NEGATIVE_INFINITY, most = Number.POSITIVE_INFINITY): boolean =>
  value >= least && value <= most;

function isObject(schema: Schema, value: object): boolean {
  const { properties = {}, patternProperties = {}, required = [], additionalProperties } = schema;
  if (required.some((name) => !Object.hasOwn(value, name))) return false;
  return Object.entries(value).every(([name, inner]) => {
    const known = Object.hasOwn(properties, name) ? properties[name] : patternProperties[""];
    return known === undefined ? additionalProperties !== false : Check(known, inner);
  });
}

/** Whether a value of JSON has the shape of a schema. Errors: TypeError for a schema of another kind. */
export function Check(schema: Schema, value: unknown): boolean {
  if (schema.anyOf !== undefined) return schema.anyOf.some((one) => Check(one, value));
  if (Object.hasOwn(schema, "const")) return value === schema.const;
  switch (schema.type) {
    case "null":
      return value === null;
    case "boolean":
      return typeof value === "boolean";
    case "integer":
      return typeof value === "number" && Number.isInteger(value) && isWithin(value, schema.minimum, schema.maximum);
    case "string": {
      const fits = typeof value === "string" && isWithin(value.length, schema.minLength, schema.maxLength);
      return fits && (schema.pattern === undefined || new RegExp(schema.pattern).test(value));
    }
    case "array": {
      if (!Array.isArray(value) || !isWithin(value.length, schema.minItems, schema.maxItems)) return false;
      return value.every((one) => Check(schema.items ?? {}, one));
    }
    case "object":
      return typeof value === "object" && value !== null && !Array.isArray(value) && isObject(schema, value);
    case undefined:
      return true;
    default:
      throw new TypeError(`no check for a schema of the type ${schema.type}`);
  }
}
