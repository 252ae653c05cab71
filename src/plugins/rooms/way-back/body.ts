/**
 * Reads the body of a restoration, up to 32 MiB of JSON, without blocking the event loop: each element is parsed and
 * checked on its own, in time slices. The body is outside the budget of all request bodies, so only one is read at a
 * time.
 */
import type { TSchema } from "@sinclair/typebox";
import { type TypeCheck, TypeCompiler } from "@sinclair/typebox/compiler";
import { JsonLists, JsonListsError } from "../../../lib/json-lists.ts";
import type { TimeSlices } from "../../../lib/time-slices.ts";
import { type Restore, RestoredKey, RestoredMember, RestoredStatement } from "../../../wire/api.ts";
import { UnibusError } from "../../../wire/errors.ts";
import { faultOf } from "../../../wire/fault.ts";

/** Maximum size of an element, in bytes: a statement with every character escaped. */
const elementBytesMax = 131_072;
/** How long the body may take to arrive, in milliseconds. No other restoration starts while one is read. */
const arrivalMsMax = 60_000;

type Lists = { -readonly [K in keyof Restore]: Restore[K] };

const schemas: Readonly<Record<keyof Restore, TSchema>> = {
  statements: RestoredStatement,
  members: RestoredMember,
  keys: RestoredKey,
};
const compiled = new Map<keyof Restore, TypeCheck<TSchema>>();

function checkElement(list: keyof Restore, index: number, value: unknown): void {
  const schema = schemas[list];
  const check = compiled.get(list) ?? TypeCompiler.Compile(schema);
  compiled.set(list, check);
  if (check.Check(value)) return;
  const fault = faultOf(schema, value);
  const wanted = fault?.wanted === undefined ? "" : ` (wanted: ${fault.wanted})`;
  throw new UnibusError("invalid", `body, ${list}.${index}.${fault?.key ?? ""}: ${fault?.message ?? "wrong"}${wanted}`);
}

function parsed(list: string, index: number, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new UnibusError("invalid", `body, ${list}.${index} is not JSON (send JSON in UTF-8)`);
  }
}

/**
 * Reads the three lists of a restoration's body.
 * Errors: invalid for a body of another shape; timeout for one that takes over a minute; those of the stream.
 */
export async function readRestoration(stream: AsyncIterable<Uint8Array>, slices: TimeSlices): Promise<Restore> {
  const lists: Lists = { statements: [], members: [], keys: [] };
  const reader = new JsonLists(Object.keys(lists), elementBytesMax);
  const endMs = performance.now() + arrivalMsMax;
  const seen = new Set<string>();
  try {
    for await (const piece of stream) {
      if (performance.now() > endMs) throw new UnibusError("timeout", "request body timed out (send it faster)");
      for (const { list, text } of reader.take(piece)) {
        const name = list as keyof Restore;
        const elements = lists[name] as unknown[];
        const value = parsed(name, elements.length, text);
        checkElement(name, elements.length, value);
        elements.push(value);
        seen.add(name);
        if (slices.isOver) await slices.rest();
      }
      if (slices.isOver) await slices.rest();
    }
    reader.end();
  } catch (error) {
    if (!(error instanceof JsonListsError)) throw error;
    throw new UnibusError("invalid", `the body ${error.message} (send statements, members and keys)`);
  }
  return lists;
}
