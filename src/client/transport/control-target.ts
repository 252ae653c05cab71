/** Derives the request of a declared route: the parts that it takes, and its target. */
import type { TSchema } from "@sinclair/typebox";
import { UnibusError } from "../../wire/errors.ts";
import type { ObjectSchema, RouteSpec, StaticOf } from "../../wire/route.ts";

type QueryOf<Q> = { readonly [K in keyof StaticOf<Q>]?: StaticOf<Q>[K] | null | undefined };

/** The parts of a request to any route. */
export interface AnyParts {
  readonly params?: Readonly<Record<string, unknown>> | undefined;
  readonly query?: Readonly<Record<string, unknown>> | undefined;
  readonly body?: unknown;
}

/** The parts of a request to a route: its path parameters, its query (null means absent), and its body. */
export type RequestParts<S extends RouteSpec> = (S extends { readonly params: ObjectSchema }
  ? { readonly params: StaticOf<S["params"]> }
  : { readonly params?: undefined }) &
  (S extends { readonly query: ObjectSchema }
    ? { readonly query?: QueryOf<S["query"]> }
    : { readonly query?: undefined }) &
  (S extends { readonly body: TSchema }
    ? S extends { readonly bodyOptional: true }
      ? { readonly body?: StaticOf<S["body"]> }
      : { readonly body: StaticOf<S["body"]> }
    : { readonly body?: undefined });

/**
 * Returns a part that matches its schema's pattern. The server may have chosen the part, and another format could turn
 * the target into a different request. Errors: invalid.
 */
function fit(part: unknown, schema: TSchema | undefined): string {
  const text = String(part);
  if (schema?.pattern === undefined || new RegExp(schema.pattern).test(text)) return text;
  throw new UnibusError("invalid", `${JSON.stringify(text)} is not a valid id here (check it)`);
}

/** The target of a request to a route. Errors: invalid for a part of the wrong format. */
export function targetOf(spec: RouteSpec, { params = {}, query = {} }: AnyParts): string {
  const path = spec.path.replace(/:([a-z_]+)/g, (_, name: string) =>
    encodeURIComponent(fit(params[name], spec.params?.properties[name])),
  );
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
  const search = new URLSearchParams(given.map(([name, value]) => [name, fit(value, spec.query?.properties[name])]));
  return given.length === 0 ? path : `${path}?${search}`;
}
