import { type Static, type TSchema, Type } from "@sinclair/typebox";
import { withoutByteOrderMark } from "../lib/text.ts";
import { UnibusError } from "../wire/errors.ts";
import { faultOf } from "../wire/fault.ts";

const Strict = <T extends Parameters<typeof Type.Object>[0]>(properties: T) =>
  Type.Object(properties, { additionalProperties: false });

/** Key `http` of `plugins.json`: the configuration of the listener. */
export const HttpConfig = Strict({
  listen: Type.Optional(Type.String({ description: "HOST:PORT to listen on; port 0 picks a free port" })),
  public_url: Type.Optional(Type.String({ description: "the URL under which users reach this server" })),
  hosts: Type.Optional(
    Type.Array(Type.String(), { maxItems: 64, description: "more host[:port] names of this server" }),
  ),
  cors_origins: Type.Optional(
    Type.Array(
      Type.String({ pattern: "^https?://[a-z0-9.:[\\]-]+$", description: "an origin, as in https://chat.example.org" }),
      { maxItems: 64, description: "origins of web pages that may use this server" },
    ),
  ),
  trusted_proxies: Type.Optional(
    Type.Array(Type.String(), { maxItems: 64, description: "IP addresses or CIDR ranges" }),
  ),
  allow_cleartext: Type.Optional(Type.Boolean({ description: "allow a public address without TLS" })),
  tls_cert: Type.Optional(Type.String({ description: "certificate chain file (PEM)" })),
  tls_key: Type.Optional(Type.String({ description: "private key file (PEM)" })),
  access_log: Type.Optional(Type.Boolean({ description: "log every request" })),
  keepalive_s: Type.Optional(
    Type.Integer({ minimum: 5, maximum: 255, description: "seconds after which an idle connection is closed" }),
  ),
  rate: Type.Optional(Type.Number({ exclusiveMinimum: 0, description: "requests per second for each client" })),
  user_share: Type.Optional(
    Type.Number({
      exclusiveMinimum: 0,
      maximum: 1,
      description: "maximum share of a busy server for one user's reads",
    }),
  ),
});
/** The configuration of the HTTP listener. */
export type HttpConfig = Static<typeof HttpConfig>;

/** Whether a listener uses TLS. Setting either file is enough to ask for TLS. */
export function isTls(http: HttpConfig): boolean {
  return http.tls_cert !== undefined || http.tls_key !== undefined;
}

const Row = Strict({
  use: Type.String({ minLength: 1, description: "name of a built-in plugin, or path of a plugin file" }),
  when: Type.Optional(Type.String({ description: "use the plugin only if this flag is on" })),
  unless: Type.Optional(Type.String({ description: "use the plugin only if this flag is off" })),
  sha256: Type.Optional(Type.String({ pattern: "^[0-9a-f]{64}$", description: "SHA-256 of the plugin file, in hex" })),
  config: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
});
/** One row of the configuration: a plugin and when to use it. */
export type Row = Static<typeof Row>;

/** The schema of `plugins.json`, the only run-time configuration. */
export const Manifest = Strict({
  extends: Type.Optional(
    Type.Literal("builtin", { description: '"builtin": add this file to the built-in plugins and flags' }),
  ),
  flags: Type.Optional(
    Type.Record(Type.String({ pattern: "^[a-z][a-z0-9-]*$" }), Type.Boolean(), { additionalProperties: false }),
  ),
  require_pins: Type.Optional(Type.Boolean({ description: "refuse plugin files without a sha256" })),
  http: Type.Optional(HttpConfig),
  plugins: Type.Array(Row, { maxItems: 256 }),
});
/** The configuration of a bus. */
export type Manifest = Static<typeof Manifest>;

/** The changes that `--flag` and `--set` make. */
export interface Overrides {
  readonly flags: Readonly<Record<string, boolean>>;
  /** By plugin name or `http`, then by key. */
  readonly settings: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** The error for a configuration that is refused: `what` is wrong in `where`, and the fix (`hint`). */
export function refusal(where: string, what: string, hint: string): UnibusError {
  return new UnibusError("invalid", `${where}: ${what} (${hint})`);
}

/**
 * Checks a value against a schema and returns it. Errors: invalid, naming the first wrong key and the expected value.
 */
export function checked<S extends TSchema>(schema: S, value: unknown, where: string): Static<S> {
  const fault = faultOf(schema, value);
  if (fault === null) return value as Static<S>;
  const { message, wanted, known } = fault;
  const key = fault.key || "the whole value";
  const hint = wanted ?? (message === "missing" ? "add it" : "correct it");
  if (message !== "Unexpected property") throw refusal(where, `${key}: ${message.toLowerCase()}`, hint);
  throw refusal(where, `unknown key ${key}`, known.length > 0 ? `known keys: ${known.join(", ")}` : "remove it");
}

/** Replaces `${env:NAME}` in every string of a value. Errors: invalid if a variable is not set. */
export function withEnvironment<T>(
  value: T,
  environment: Readonly<Record<string, string | undefined>>,
  where: string,
): T {
  const replace = (text: string) =>
    text.replace(/\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}/g, (_, name: string) => {
      const found = Object.hasOwn(environment, name) ? environment[name] : undefined;
      if (found === undefined) throw refusal(where, `\${env:${name}} is not set`, `set ${name} in the environment`);
      return found;
    });
  const walk = (node: unknown): unknown => {
    if (typeof node === "string") return replace(node);
    if (Array.isArray(node)) return node.map(walk);
    if (typeof node !== "object" || node === null) return node;
    return Object.fromEntries(Object.entries(node).map(([key, inner]) => [key, walk(inner)]));
  };
  return walk(value) as T;
}

/**
 * Resolves `extends`: the built-in rows, except those that a row with the same `use` replaces, then the manifest's own
 * rows, and the flags of both.
 */
export function extended(manifest: Manifest, builtin: Manifest): Manifest {
  if (manifest.extends === undefined) return manifest;
  const { extends: _, ...own } = manifest;
  const isReplaced = (row: Row) => own.plugins.some(({ use }) => use === row.use);
  const plugins = [...builtin.plugins.filter((row) => !isReplaced(row)), ...own.plugins];
  return { ...own, flags: { ...builtin.flags, ...own.flags }, plugins };
}

/** Parses a manifest. One with `extends` may leave out `plugins`. Errors: invalid, naming the file. */
export function parseManifest(text: string, file: string): Manifest {
  let value: { plugins?: unknown; extends?: unknown } | null;
  try {
    value = JSON.parse(withoutByteOrderMark(text));
  } catch (error) {
    throw refusal(file, `not JSON: ${(error as Error).message}`, "correct the JSON");
  }
  if (value?.extends !== undefined && value.plugins === undefined) value.plugins = [];
  const rows = Array.isArray(value?.plugins) ? value.plugins : [];
  for (const row of rows) checked(Row, row, `${file}, plugin ${row?.use ?? "without use"}`);
  return checked(Manifest, value, file);
}
