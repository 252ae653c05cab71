import type { TSchema } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";

/** What is wrong with a value first. */
export interface Fault {
  /** The key, its parts joined by dots; empty for the value itself. */
  readonly key: string;
  readonly message: string;
  /** What the schema says of what belongs there. */
  readonly wanted: string | undefined;
  /** The keys that the object around it may have, where one too many is what is wrong. */
  readonly known: readonly string[];
}

/** Where a value first departs from a schema, or null when it fits. */
export function faultOf(schema: TSchema, value: unknown): Fault | null {
  const first = Value.Errors(schema, value).First();
  if (first === undefined) return null;
  const { description: wanted, properties = {} } = first.schema as { description?: string; properties?: object };
  return {
    key: first.path.slice(1).replaceAll("/", "."),
    message: first.message,
    wanted,
    known: Object.keys(properties),
  };
}

/**
 * The values that the texts of a path or a query stand for by a schema.
 * Shape: a number that is not exactly what was written stays a text, and then does not fit.
 */
export function valuesOf(schema: TSchema, texts: Readonly<Record<string, string>>): unknown {
  const values = Value.Convert(schema, { ...texts }) as Record<string, unknown>;
  for (const [key, text] of Object.entries(texts)) {
    if (typeof values[key] === "number" && values[key] !== Number(text)) values[key] = text;
  }
  return values;
}
