import type { TSchema } from "@sinclair/typebox";
import { Value, ValueErrorType } from "@sinclair/typebox/value";

/** The first thing that is wrong with a value. */
export interface Fault {
  /** The path to the wrong key, joined by dots; empty for the value itself. */
  readonly key: string;
  readonly message: string;
  /** The schema's description of a valid value. */
  readonly wanted: string | undefined;
  /** The keys that the object may have; set if the fault is an unknown key. */
  readonly known: readonly string[];
}

/** The message for a value that is not among closed choices; null for a schema that does not name any. */
function choicesText({ anyOf }: TSchema): string | null {
  const choices = (anyOf as { const?: unknown }[] | undefined)?.map((one) => one.const);
  if (choices === undefined || choices.some((one) => one === undefined)) return null;
  return `expected one of ${choices.join(", ")}`;
}

/** Finds the first place where a value violates a schema. Returns null if the value is valid. */
export function faultOf(schema: TSchema, value: unknown): Fault | null {
  const first = Value.Errors(schema, value).First();
  if (first === undefined) return null;
  const isMissing = first.type === ValueErrorType.ObjectRequiredProperty;
  const { description: wanted, properties = {} } = first.schema as { description?: string; properties?: object };
  return {
    key: first.path.slice(1).replaceAll("/", "."),
    message: isMissing ? "missing" : (choicesText(first.schema) ?? first.message),
    wanted,
    known: Object.keys(properties),
  };
}

/** Says in one line what is wrong with a value that violates a schema: where, what, and what is wanted. */
export function faultText(schema: TSchema, value: unknown, where: string): string {
  const fault = faultOf(schema, value);
  const wanted = fault?.wanted === undefined ? "" : ` (wanted: ${fault.wanted})`;
  return `${fault?.key ? `${where}, ${fault.key}` : where}: ${fault?.message ?? "invalid value"}${wanted}`;
}

/**
 * Converts the texts of path or query parameters to the types of a schema.
 * Shape: a number that does not round-trip to the text stays a text, so validation rejects it.
 */
export function valuesOf(schema: TSchema, texts: Readonly<Record<string, string>>): unknown {
  const values = Value.Convert(schema, { ...texts }) as Record<string, unknown>;
  for (const [key, text] of Object.entries(texts)) {
    if (typeof values[key] === "number" && values[key] !== Number(text)) values[key] = text;
  }
  return values;
}
