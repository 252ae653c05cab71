import { type TSchema, Type } from "@sinclair/typebox";
import { ErrorReply } from "../wire/api.ts";
import { type ReplyCode, statusOf } from "../wire/errors.ts";
import { requestIdHeader, signatureHeaders } from "../wire/sign.ts";
import { type ObjectSchema, type Route, route } from "./plugin.ts";

/** The error codes that every route may return. */
const anywhere: readonly ReplyCode[] = ["invalid", "rate_limited", "internal", "unavailable"];
const whereSigned: readonly ReplyCode[] = ["unauthenticated", "wrong_host", "clock_skew"];
const whereBody: readonly ReplyCode[] = ["timeout", "too_large", "unsupported"];

/** The error codes that a route may return, by HTTP status. */
export function errorsOf({ access, shape }: Route): Map<number, ReplyCode[]> {
  const codes = new Set<ReplyCode>([
    ...anywhere,
    ...(access === "public" ? [] : whereSigned),
    ...(access === "admin" ? (["forbidden"] as const) : []),
    ...whereBody,
    ...(shape.errors ?? []),
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

const content = (schema: TSchema, type = "application/json") => ({ [type]: { schema } });

const bytes: TSchema = { type: "string", format: "binary" } as unknown as TSchema;

function success({ shape }: Route): Record<string, unknown> {
  const headers = { [requestIdHeader]: { schema: { type: "string" } } };
  if (shape.replyType !== undefined) {
    return { 200: { description: "The content", headers, content: content(bytes, shape.replyType) } };
  }
  if (shape.reply === undefined) return { 204: { description: "Done", headers } };
  const reply = { description: "Done", headers, content: content(shape.reply) };
  const statuses = shape.stream === true && shape.body === undefined ? [200, 201] : [shape.status ?? 200];
  const known =
    shape.etag === true ? { 304: { description: "Not modified: the reply still matches If-None-Match", headers } } : {};
  return { ...Object.fromEntries(statuses.map((status) => [status, reply])), ...known };
}

/** The routes of one plugin. */
export interface RouteGroup {
  readonly plugin: string;
  readonly routes: readonly Route[];
}

/** An operation id built from method and path, for generated clients: `getRoomsByIdMembers`. */
function operationId({ method, path }: Route): string {
  const parts = path.split("/").map((part) => (part.startsWith(":") ? `by_${part.slice(1)}` : part));
  const words = parts.flatMap((part) => part.split(/[^A-Za-z0-9]+/)).filter(Boolean);
  return method.toLowerCase() + words.map((word) => (word[0] ?? "").toUpperCase() + word.slice(1)).join("");
}

function operation(route: Route, plugin: string): Record<string, unknown> {
  const { shape, access } = route;
  const failures = [...errorsOf(route)].map(([status, codes]) => [
    status,
    { description: codes.join(", "), content: content({ $ref: "#/components/schemas/Error" } as unknown as TSchema) },
  ]);
  const isBytes = shape.stream === true && shape.body === undefined;
  const type = isBytes ? "application/octet-stream" : "application/json";
  const body = isBytes ? bytes : shape.body;
  return {
    operationId: operationId(route),
    tags: [plugin],
    summary: shape.summary,
    parameters: [...parameters(shape.params, "path"), ...parameters(shape.query, "query")],
    ...(body === undefined
      ? {}
      : { requestBody: { required: shape.bodyOptional !== true, content: content(body, type) } }),
    security: access === "public" ? [] : [Object.fromEntries(Object.keys(signatureHeaders).map((k) => [k, []]))],
    "x-access": access,
    ...(shape.cost === undefined ? {} : { "x-cost": shape.cost }),
    responses: { ...Object.fromEntries(failures), ...success(route) },
  };
}

/** Generates the OpenAPI 3.1 document of some routes; no part of it is written by hand. */
export function openApiDocument(groups: readonly RouteGroup[], version: string): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const { plugin, routes } of groups) {
    for (const route of routes) {
      const path = route.path.replace(/:([a-z_]+)/g, "{$1}");
      paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(route, plugin) };
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

/** The route GET /openapi.json. It serves the document of all routes, including itself once it is in `groups`. */
export function openApiRoute(groups: readonly RouteGroup[], version: string): Route {
  const shape = { summary: "This document", reply: Type.Unknown() };
  return route("GET", "/openapi.json", "public", shape, async () => openApiDocument(groups, version));
}
