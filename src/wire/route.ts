/**
 * What a route declares: its method, path, access, schemas and limits, as data. The server binds a handler to it, the
 * client derives the request from it, and the OpenAPI document is generated from it. `routes.ts` has those of unibus;
 * a plugin declares its own the same way.
 */
import { type Static, type TSchema, Type } from "@sinclair/typebox";
import type { ReplyCode } from "./errors.ts";

/** The HTTP methods that a route may have. */
export type Method = "GET" | "POST" | "PUT" | "DELETE";

/** The access level of a route: everyone, any active user, or active admins. There is no default. */
export type Access = "public" | "signed" | "admin";

/** The cost class of an expensive read, one that occupies the main thread: see `http.user_share`. */
export type Cost = "list" | "statements" | "history" | "key" | "survey";

/**
 * How a request uses the store's disk space: it may grow the store, it may free space, or a member departs. `judged`
 * leaves the decision to the handler, which asks the reserve itself.
 */
export type RouteSpace = "grows" | "frees" | "departs" | "judged";

/**
 * The schema `Type.Object(...)` with any properties. TypeBox's own TObject makes several versions of TypeScript fail
 * when it constrains a generic ("excessively deep").
 */
export interface ObjectSchema extends TSchema {
  readonly type: "object";
  readonly properties: Readonly<Record<string, TSchema>>;
  readonly required?: readonly string[] | undefined;
}

/**
 * The declaration of a route. Path and query parameters arrive as text and are converted. Unknown fields in bodies are
 * refused.
 */
export interface RouteSpec {
  readonly method: Method;
  /** Path parameters are written `:name`. */
  readonly path: `/${string}`;
  readonly access: Access;
  /** One line for the API reference. */
  readonly summary: string;
  readonly params?: ObjectSchema;
  readonly query?: ObjectSchema;
  /** The schema of the JSON body, or `Bytes`. If absent, the route accepts no body. */
  readonly body?: TSchema;
  /** Set if the body may be left out. */
  readonly bodyOptional?: true;
  /** The handler reads the body as a stream: `Bytes`, or JSON of the schema `body`, which it validates itself. */
  readonly stream?: true;
  /** The largest body, in bytes. Default 1 MiB. */
  readonly bodyBytesMax?: number;
  /** Asked of the reserve before the body is read. Default: a GET writes nothing, any other request grows the store. */
  readonly space?: RouteSpace;
  /** `tight` for routes on which strangers could guess secrets: a much smaller rate limit per client. */
  readonly rate?: "tight";
  /** The schema of the JSON reply, or `Bytes`. If absent, the reply is 204 without a body. */
  readonly reply?: TSchema;
  /** The status of a successful reply. Default 200, or 204 without a reply schema. */
  readonly status?: 200 | 201;
  /** The cost class charged to the user, so that one heavy reader does not slow down the others. */
  readonly cost?: Cost;
  /** The reply carries an `ETag`, and is 304 without a body if `If-None-Match` matches. */
  readonly etag?: true;
  /** Further error codes of this route, besides those that every route may return. */
  readonly errors?: readonly ReplyCode[];
}

/** The type of a schema's values, or undefined without a schema. */
export type StaticOf<S> = S extends TSchema ? Static<S> : undefined;

/** The schema of a body or reply that is not JSON but the bytes themselves, as application/octet-stream. */
export const Bytes = Type.Unsafe<Uint8Array>({ type: "string", format: "binary" });

/** Whether a schema is `Bytes`. */
export function isBytes(schema: TSchema | undefined): boolean {
  return schema?.format === "binary";
}

/** The names of a path's parameters, in order. */
export function paramsOf(path: string): string[] {
  return [...path.matchAll(/:([a-z_]+)/g)].map(([, name]) => name ?? "");
}
