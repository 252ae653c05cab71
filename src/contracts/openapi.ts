import type { TSchema } from "@sinclair/typebox";
import { ErrorReply } from "../wire/api.ts";
import { type ReplyCode, statusOf } from "../wire/errors.ts";
import { isBytes, type ObjectSchema, type RouteSpec } from "../wire/route.ts";
import { routes } from "../wire/routes.ts";
import { requestIdHeader, signatureHeaders } from "../wire/sign.ts";
import { type Route, route } from "./plugin.ts";
import type { RouteGroup } from "./route-table.ts";

/** The error codes that every route may return. */
const anywhere: readonly ReplyCode[] = ["invalid", "rate_limited", "internal", "unavailable"];
const whereSigned: readonly ReplyCode[] = ["unauthenticated", "wrong_host", "clock_skew"];
const whereBody: readonly ReplyCode[] = ["timeout", "too_large", "unsupported"];

/** The error codes that a route may return, by HTTP status. */
export function errorsOf({ access, errors = [] }: RouteSpec): Map<number, ReplyCode[]> {
  const codes = new Set<ReplyCode>([
    ...anywhere,
    ...(access === "public" ? [] : whereSigned),
    ...(access === "admin" ? (["forbidden"] as const) : []),
    ...whereBody,
    ...errors,
  ]);
  const byStatus = new Map<number, ReplyCode[]>();
  for (const code of codes) byStatus.set(statusOf[code], [...(byStatus.get(statusOf[code]) ?? []), code]);
  return new Map([...byStatus].sort(([a], [b]) => a - b));
}

const parameters = (schema: ObjectSchema | undefined, place: "path" | "query") =>
  Object.entries(schema?.properties ?? {}).map(([name, inner]) => ({
    name,
    in: place,
    required: schema?.required?.includes(name) ?? false,
    schema: inner,
  }));

const content = (schema: TSchema) => ({
  [isBytes(schema) ? "application/octet-stream" : "application/json"]: { schema },
});

function success({ body, reply: schema, status = 200, etag }: RouteSpec): Record<string, unknown> {
  const headers = { [requestIdHeader]: { schema: { type: "string" } } };
  if (schema === undefined) return { 204: { description: "Done", headers } };
  const description = isBytes(schema) ? "The content" : "Done";
  const reply = { description, headers, content: content(schema) };
  const statuses = isBytes(body) ? [200, 201] : [status];
  const known =
    etag === true ? { 304: { description: "Not modified: the reply still matches If-None-Match", headers } } : {};
  return { ...Object.fromEntries(statuses.map((status) => [status, reply])), ...known };
}

/** An operation id built from method and path, for generated clients: `getRoomsByIdMembers`. */
function operationId({ method, path }: RouteSpec): string {
  const parts = path.split("/").map((part) => (part.startsWith(":") ? `by_${part.slice(1)}` : part));
  const words = parts.flatMap((part) => part.split(/[^A-Za-z0-9]+/)).filter(Boolean);
  return method.toLowerCase() + words.map((word) => (word[0] ?? "").toUpperCase() + word.slice(1)).join("");
}

function operation(spec: RouteSpec, plugin: string): Record<string, unknown> {
  const { access, body } = spec;
  const failures = [...errorsOf(spec)].map(([status, codes]) => [
    status,
    { description: codes.join(", "), content: content({ $ref: "#/components/schemas/Error" } as unknown as TSchema) },
  ]);
  return {
    operationId: operationId(spec),
    tags: [plugin],
    summary: spec.summary,
    parameters: [...parameters(spec.params, "path"), ...parameters(spec.query, "query")],
    ...(body === undefined ? {} : { requestBody: { required: spec.bodyOptional !== true, content: content(body) } }),
    security: access === "public" ? [] : [Object.fromEntries(Object.keys(signatureHeaders).map((k) => [k, []]))],
    "x-access": access,
    ...(spec.cost === undefined ? {} : { "x-cost": spec.cost }),
    responses: { ...Object.fromEntries(failures), ...success(spec) },
  };
}

/** Generates the OpenAPI 3.1 document of some routes; no part of it is written by hand. */
export function openApiDocument(groups: readonly RouteGroup[], version: string): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const { plugin, routes } of groups) {
    for (const spec of routes) {
      const path = spec.path.replace(/:([a-z_]+)/g, "{$1}");
      paths[path] = { ...paths[path], [spec.method.toLowerCase()]: operation(spec, plugin) };
    }
  }
  const schemes = Object.entries(signatureHeaders).map(([key, name]) => [key, { type: "apiKey", in: "header", name }]);
  return {
    openapi: "3.1.0",
    info: { title: "unibus control plane", version },
    tags: groups.filter(({ routes }) => routes.length > 0).map(({ plugin }) => ({ name: plugin })),
    paths,
    components: { schemas: { Error: ErrorReply }, securitySchemes: Object.fromEntries(schemes) },
  };
}

/** The route GET /openapi.json, which serves the document of some routes. */
export function openApiRoute(groups: readonly RouteGroup[], version: string): Route {
  return route(routes.bus.openapi, async () => openApiDocument(groups, version));
}
