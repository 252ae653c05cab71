/**
 * The plugin API: what a plugin declares, and what it receives. Built-in and third-party plugins get the same, nothing
 * more.
 * Lifecycle: `setup` acquires resources, `start` begins work, and the callbacks given to `onStop` release, last first.
 * The kernel runs it; `declaration.ts` validates declarations at boot.
 */
import type { Static, TObject, TSchema } from "@sinclair/typebox";
import type { Info } from "../wire/api.ts";
import type { RouteSpec, StaticOf } from "../wire/route.ts";
import type { Caller } from "./auth.ts";
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

/**
 * One request to a route. Path and query are validated. A public route has no caller, and a route without a body has
 * neither `read` nor `stream`.
 */
export type Call<S extends RouteSpec> = {
  readonly params: StaticOf<S["params"]>;
  readonly query: StaticOf<S["query"]>;
  /** Aborts when the client disconnects or the deadline passes. */
  readonly signal: AbortSignal;
  /** The client's address: behind a trusted proxy, the one that the proxy reports. */
  readonly address: string;
  /** The id in the reply's `X-Request-Id`. */
  readonly requestId: string;
} & (S["access"] extends "public" ? unknown : { readonly caller: Caller }) &
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

/** What a handler returns: a value of the reply's schema, or a reply that it made itself (always for `Bytes`). */
export type Result<S extends RouteSpec> = RawReply | Exclude<StaticOf<S["reply"]>, Uint8Array>;

/** A declared route with its handler. The kernel enforces access, limits and errors by the declaration. */
export interface Route {
  readonly spec: RouteSpec;
  readonly handle: (call: Call<RouteSpec>) => Promise<unknown>;
}

/** Declares a route, keeping its literal types, so that a handler can be bound to it. */
export function defineRoute<const S extends RouteSpec>(spec: S): S {
  return spec;
}

/** Binds a handler to a declared route. Setup returns the result under `routes`. */
export function route<const S extends RouteSpec>(spec: S, handle: (call: Call<S>) => Promise<Result<S>>): Route {
  return { spec, handle: handle as unknown as Route["handle"] };
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
  /** Exactly the routes that the plugin declares, each with its handler. */
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
  /** The routes that the plugin serves: data, so that `plan` and boot check them before any setup. */
  readonly routes?: readonly RouteSpec[];
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
