/**
 * The plugin API: what a plugin declares, and what it receives. Built-in and third-party plugins get the same, nothing
 * more.
 * Lifecycle: `setup` acquires resources, `start` begins work, and the callbacks given to `onStop` release, last first.
 * The kernel runs it; `declaration.ts` validates declarations at boot.
 */
import type { Static, TObject, TSchema } from "@sinclair/typebox";
import type { Info } from "../wire/api.ts";
import type { ReplyCode } from "../wire/errors.ts";
import type { Caller } from "./auth.ts";
import type { SpaceUse } from "./reserve.ts";
import type { SocketRoute } from "./socket.ts";

/**
 * The name of a service, typed with its interface. Tokens with the same id are equal, even from two copies of this
 * module.
 */
export interface Token<T> {
  readonly id: string;
  readonly _type?: T;
}

/** Creates a service token. The id is a noun (`room-store`); third parties use a prefix (`acme.audit`). */
export function token<T>(id: string): Token<T> {
  return { id };
}

/** Tokens under the names by which a plugin refers to them. */
export type Tokens = Readonly<Record<string, Token<unknown>>>;

/** The services of some tokens, under the same names. */
export type Served<P extends Tokens> = { readonly [K in keyof P]: P[K] extends Token<infer T> ? T : never };

/** The HTTP methods that a route may have. */
export type Method = "GET" | "POST" | "PUT" | "DELETE";

/** The access level of a route: everyone, any active user, or active admins. There is no default. */
export type Access = "public" | "signed" | "admin";

/** The cost class of an expensive read, one that occupies the main thread: see `http.user_share`. */
export type Cost = "list" | "statements" | "history" | "key";

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
 * The schemas and options of a route. Path and query parameters arrive as text and are converted. Unknown fields in
 * bodies are refused.
 */
export interface Shape {
  readonly params?: ObjectSchema;
  readonly query?: ObjectSchema;
  readonly body?: TSchema;
  /** Set if the body may be left out. */
  readonly bodyOptional?: true;
  /** The handler reads the body as a stream: bytes, or JSON of the schema `body`, which it validates itself. */
  readonly stream?: true;
  /** The largest body, in bytes. Default 1 MiB. */
  readonly bodyBytesMax?: number;
  /**
   * How a request uses the store's disk space; the reserve is asked before the body is read. By default a GET writes
   * nothing, and any other request grows the store. `judged`: the handler asks the reserve itself.
   */
  readonly space?: Exclude<SpaceUse, "nonce"> | "judged";
  /** `tight` for routes on which strangers could guess secrets: a much smaller rate limit per client. */
  readonly rate?: "tight";
  /** If absent, the reply is 204 without a body. */
  readonly reply?: TSchema;
  /** The media type of a successful reply that consists of bytes. */
  readonly replyType?: string;
  /** The status of a successful reply. Default 200, or 204 without a reply schema. */
  readonly status?: 200 | 201;
  /** The cost class charged to the user, so that one heavy reader does not slow down the others. */
  readonly cost?: Cost;
  /** The reply carries an `ETag`, and is 304 without a body if `If-None-Match` matches. */
  readonly etag?: true;
  /** Further error codes of this route, besides those that every route may return. */
  readonly errors?: readonly ReplyCode[];
  /** One line for the API reference. */
  readonly summary: string;
}

type StaticOf<S> = S extends TSchema ? Static<S> : undefined;

/**
 * One request to a route. Path and query are validated. A public route has no caller, and a route without a body has
 * neither `read` nor `stream`.
 */
export type Call<A extends Access, S extends Shape> = {
  readonly params: StaticOf<S["params"]>;
  readonly query: StaticOf<S["query"]>;
  /** Aborts when the client disconnects or the deadline passes. */
  readonly signal: AbortSignal;
} & (A extends "public" ? unknown : { readonly caller: Caller }) &
  (S extends { readonly stream: true }
    ? {
        /**
         * The body as chunks. A stream that ends without an error is the complete signed body, within the size limit.
         */
        readonly stream: AsyncIterable<Uint8Array> & {
          /** The lowercase hex sha256 of the complete body, if the request declared one. */
          readonly hash: string | null;
          /** The declared size of the body in bytes; null for a chunked body. */
          readonly size: number | null;
        };
      }
    : S extends { readonly body: TSchema }
      ? {
          /**
           * Parses and validates the body. Whatever the handler checks before this call, such as existence and
           * membership, is reported before an invalid body. The bytes have arrived by then, within the size limit and
           * with the signed hash, so a slow client cannot delay the handler between a check and what it allows.
           * Errors: invalid, naming the field.
           */
          read(): Promise<StaticOf<S["body"]> | (S extends { readonly bodyOptional: true } ? undefined : never)>;
        }
      : unknown);

const madeByHand = Symbol.for("unibus.raw-reply");

/** A reply whose bytes the handler made itself. */
export interface RawReply {
  readonly [madeByHand]: true;
  readonly body: string | Uint8Array | Blob | ReadableStream<Uint8Array>;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** The size of the body in bytes, if it is known in advance. */
  readonly size: number | null;
}

/** Replies with raw bytes, for hot paths where the handler serialises JSON itself. */
export function rawReply(
  body: RawReply["body"],
  options: { status?: number; headers?: Record<string, string>; size?: number } = {},
): RawReply {
  const headers = options.headers ?? { "content-type": "application/json;charset=utf-8" };
  const size = typeof body === "string" || body instanceof Uint8Array ? body.length : (options.size ?? null);
  return { [madeByHand]: true, body, status: options.status ?? 200, headers, size };
}

/** Reports whether a handler's result is a raw reply. */
export function isRawReply(value: unknown): value is RawReply {
  return typeof value === "object" && value !== null && madeByHand in value;
}

/** A route as the kernel stores it: plain data, so that the kernel enforces access, limits and errors in one place. */
export interface Route {
  readonly method: Method;
  readonly path: `/${string}`;
  readonly access: Access;
  readonly shape: Shape;
  readonly handle: (call: Call<"signed", Shape>) => Promise<unknown>;
}

/** Declares a route. Path parameters are written `:name`. */
export function route<A extends Access, S extends Shape>(
  method: Method,
  path: `/${string}`,
  access: A,
  shape: S,
  handle: (call: Call<A, S>) => Promise<StaticOf<S["reply"]> | RawReply>,
): Route {
  return { method, path, access, shape, handle: handle as unknown as Route["handle"] };
}

/** A logger that adds the plugin's name. Fields are for machines, the message is for people. */
export interface Log {
  debug(message: string, fields?: Record<string, unknown>): void;
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
}

/** Facts about the whole bus that do not belong to a plugin. */
export interface Site {
  readonly version: string;
  /** The directory that holds all state. Each plugin names its own files in it. */
  readonly dataDir: string;
  readonly flags: Readonly<Record<string, boolean>>;
  /** The configured `public_url` without a trailing slash, or null. */
  readonly publicUrl: string | null;
  /** The URL at which people reach this bus: `publicUrl`, or else the listener's own URL. */
  url(): string;
  /** Further host[:port] values that signatures may be made for. */
  readonly hosts: readonly string[];
  /** The `facts` of all configured plugins, collected before the first setup. */
  readonly facts: Readonly<Record<string, string>>;
  readonly listener: {
    readonly hostname: string;
    /** The bound port. Before the bus listens: the configured port, which may be 0. */
    port(): number;
    readonly tls: boolean;
    /** Whether other machines can reach it. */
    readonly isPublic: boolean;
    readonly allowCleartext: boolean;
  };
}

/** What the kernel passes to a plugin's setup. */
export interface Context<C> {
  /** Validated against the plugin's schema. Unknown keys were refused. */
  readonly config: C;
  readonly site: Site;
  readonly log: Log;
  /** The time in milliseconds since the epoch. Tests replace it. */
  readonly now: () => number;
  /** Aborts when the bus starts to shut down. */
  readonly signal: AbortSignal;
  /**
   * Reports the progress of a long setup, in words that are safe to show. It renews the setup's time budget, and
   * /readyz and the log show the words. Call it only when work has been done, or while waiting for something that has
   * its own deadline.
   */
  progress(detail: string): void;
  /**
   * Registers a release callback. Call it right after each acquire. Callbacks run in reverse order over all plugins,
   * even if a later setup throws.
   */
  onStop(release: () => unknown): void;
}

/** Whether a plugin can work now. `detail` is safe to show. */
export interface Health {
  readonly ok: boolean;
  readonly detail?: string;
}

/** A plugin after setup: its services, routes and hooks. */
export interface Live<P extends Tokens> {
  /** Exactly the services that the plugin declares under `provides`. */
  readonly services: Served<P>;
  readonly routes?: readonly Route[];
  readonly sockets?: readonly SocketRoute[];
  /** Security facts for /healthz: auth, tls, cluster, store, acl, durability. */
  readonly posture?: Readonly<Record<string, string>>;
  /** Facts for /info, called for each request. */
  info?(): Partial<Info>;
  /** Starts loops and consumers. Called after every setup, before the bus listens. */
  start?(): Promise<void>;
  health?(): Promise<Health>;
}

/** A plugin: the default export of one file. */
export interface Plugin<
  C extends TObject = TObject,
  P extends Tokens = Tokens,
  R extends Tokens = Tokens,
  O extends Tokens = Tokens,
> {
  readonly name: string;
  readonly api: 1;
  readonly config: C;
  readonly provides?: P;
  readonly requires?: R;
  readonly optional?: O;
  /** The timeout of the setup in milliseconds, if it needs more than the default. */
  readonly setupBudgetMs?: number;
  /**
   * Facts derived from the configuration alone, so that other plugins can refuse to boot with it. Pure; called before
   * any setup.
   */
  facts?(config: Static<C>): Readonly<Record<string, string>>;
  setup(ctx: Context<Static<C>>, use: Served<R> & Partial<Served<O>>): Promise<Live<P>>;
}

type None = Record<never, never>;

/** Declares a plugin with type checking. */
export function definePlugin<
  C extends TObject,
  P extends Tokens = None,
  R extends Tokens = None,
  O extends Tokens = None,
>(plugin: Plugin<C, P, R, O>): Plugin<C, P, R, O> {
  return plugin;
}
