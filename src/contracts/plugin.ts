/**
 * What a plugin is. A plugin gets nothing that is not written here, built-in or not.
 * Order of a life: `setup` acquires, `start` goes live, what was given to `onStop` releases, last first.
 */
import type { Static, TObject, TSchema } from "@sinclair/typebox";
import type { Info } from "../wire/api.ts";
import type { ReplyCode } from "../wire/errors.ts";
import type { Caller } from "./auth.ts";
import type { SpaceUse } from "./reserve.ts";
import type { SocketRoute } from "./socket.ts";

/** A service's name. Two tokens with one id are one token, whichever copy of this file made them. */
export interface Token<T> {
  readonly id: string;
  readonly _type?: T;
}

/** Names a service. The id is the noun (`room-store`); third parties prefix theirs (`acme.audit`). */
export function token<T>(id: string): Token<T> {
  return { id };
}

/** Tokens by the name under which a plugin uses them. */
export type Tokens = Readonly<Record<string, Token<unknown>>>;

/** The services of some tokens, under the same names. */
export type Served<P extends Tokens> = { readonly [K in keyof P]: P[K] extends Token<infer T> ? T : never };

/** HTTP methods that a route may have. */
export type Method = "GET" | "POST" | "PUT" | "DELETE";

/** Who may call a route: anybody, an active user, an active admin. There is no default. */
export type Access = "public" | "signed" | "admin";

/** What a read of a route is charged as, where it takes the main thread's time: see `http.user_share`. */
export type Cost = "list" | "statements" | "history" | "key";

/**
 * A `Type.Object(...)` with whatever properties. TypeBox's own type for that, TObject, makes several versions of
 * TypeScript give up when it constrains a generic ("excessively deep").
 */
export interface ObjectSchema extends TSchema {
  readonly type: "object";
  readonly properties: Readonly<Record<string, TSchema>>;
  readonly required?: readonly string[] | undefined;
}

/** The schemas of a route. Params and query arrive as text and are converted; unknown fields are refused in bodies. */
export interface Shape {
  readonly params?: ObjectSchema;
  readonly query?: ObjectSchema;
  readonly body?: TSchema;
  /** Whether the body may be left out. */
  readonly bodyOptional?: true;
  /** The handler takes the body as it comes: bytes, or JSON of the shape `body`, which it checks itself. */
  readonly stream?: true;
  /** Largest body, in bytes, where it is not 1 MiB. */
  readonly bodyBytesMax?: number;
  /**
   * What a request does to the store's space, asked of the reserve before its body is read. Without it a GET writes
   * nothing, and any other request grows what is stored. `judged`: the handler asks.
   */
  readonly space?: Exclude<SpaceUse, "nonce"> | "judged";
  /** `tight` where strangers may try secrets: the client's bucket is then much smaller. */
  readonly rate?: "tight";
  /** Absent: 204 without a body. */
  readonly reply?: TSchema;
  /** The media type of a success that is bytes. */
  readonly replyType?: string;
  /** Status of a success. Default 200, or 204 where there is no reply. */
  readonly status?: 200 | 201;
  /** What a user who reads much is charged, so that nobody takes the server's time from the others. */
  readonly cost?: Cost;
  /** The reply carries an `ETag`, and is 304 without a body where `If-None-Match` names it. */
  readonly etag?: true;
  /** What else this route may answer, beside what any route may. */
  readonly errors?: readonly ReplyCode[];
  /** One line for the reference. */
  readonly summary: string;
}

type StaticOf<S> = S extends TSchema ? Static<S> : undefined;

/** One request to a route, its parts checked. A public route has no caller. */
export type Call<A extends Access, S extends Shape> = {
  readonly params: StaticOf<S["params"]>;
  readonly query: StaticOf<S["query"]>;
  /** Checked when it is first read, so that existence and membership are answered before. */
  readonly body: StaticOf<S["body"]> | (S extends { readonly bodyOptional: true } ? undefined : never);
  /** Aborts when the client goes away or the deadline passes. */
  readonly signal: AbortSignal;
} & (A extends "public" ? unknown : { readonly caller: Caller }) &
  (S extends { readonly stream: true }
    ? {
        /** Chunks of the body. What ends without an error is the body that was signed, within its cap. */
        readonly stream: AsyncIterable<Uint8Array> & {
          /** Lowercase hex sha256 of what ends without an error, where the request promised one. */
          readonly hash: string | null;
          /** The size that the request declared, in bytes; null for one that comes in chunks. */
          readonly size: number | null;
        };
      }
    : unknown);

const madeByHand = Symbol.for("unibus.raw-reply");

/** A reply whose bytes the handler made itself. */
export interface RawReply {
  readonly [madeByHand]: true;
  readonly body: string | Uint8Array | Blob | ReadableStream<Uint8Array>;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** How many bytes the body has, where that is known before they are sent. */
  readonly size: number | null;
}

/** Answers with bytes as they are, for replies where writing JSON by hand pays. */
export function rawReply(
  body: RawReply["body"],
  options: { status?: number; headers?: Record<string, string>; size?: number } = {},
): RawReply {
  const headers = options.headers ?? { "content-type": "application/json;charset=utf-8" };
  const size = typeof body === "string" || body instanceof Uint8Array ? body.length : (options.size ?? null);
  return { [madeByHand]: true, body, status: options.status ?? 200, headers, size };
}

/** Whether a handler's result is a reply made by hand. */
export function isRawReply(value: unknown): value is RawReply {
  return typeof value === "object" && value !== null && madeByHand in value;
}

/** A route as the kernel keeps it: data, so that one file owns access, limits and errors. */
export interface Route {
  readonly method: Method;
  readonly path: `/${string}`;
  readonly access: Access;
  readonly shape: Shape;
  readonly handle: (call: Call<"signed", Shape>) => Promise<unknown>;
}

/** Declares a route. Params are written `:name`. */
export function route<A extends Access, S extends Shape>(
  method: Method,
  path: `/${string}`,
  access: A,
  shape: S,
  handle: (call: Call<A, S>) => Promise<StaticOf<S["reply"]> | RawReply>,
): Route {
  return { method, path, access, shape, handle: handle as unknown as Route["handle"] };
}

/** A log whose lines carry the plugin's name. Fields are for machines, the message for people. */
export interface Log {
  debug(message: string, fields?: Record<string, unknown>): void;
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
}

/** Facts about the bus as a whole that no plugin owns. */
export interface Site {
  readonly version: string;
  /** The folder that holds all state; each plugin names its own files in it. */
  readonly dataDir: string;
  readonly flags: Readonly<Record<string, boolean>>;
  /** `public_url` of the configuration, without a slash at the end, or null. */
  readonly publicUrl: string | null;
  /** The URL at which people reach this bus: `publicUrl`, or the listener's own. */
  url(): string;
  /** Further host[:port] values that signatures may name. */
  readonly hosts: readonly string[];
  /** What the plugins of the plan say of their configuration, before any is set up. */
  readonly facts: Readonly<Record<string, string>>;
  readonly listener: {
    readonly hostname: string;
    /** The bound port; before the bus listens, the configured one, which may be 0. */
    port(): number;
    readonly tls: boolean;
    /** Whether others than this machine can reach it. */
    readonly isPublic: boolean;
    readonly allowCleartext: boolean;
  };
}

/** What a plugin works with. */
export interface Context<C> {
  /** Checked against the plugin's schema; unknown keys were refused. */
  readonly config: C;
  readonly site: Site;
  readonly log: Log;
  /** Milliseconds since the epoch; tests replace it. */
  readonly now: () => number;
  /** Aborts when the bus begins to stop. */
  readonly signal: AbortSignal;
  /** Write it on the line after each acquire. Called in reverse over all plugins, also when a later setup throws. */
  onStop(release: () => unknown): void;
}

/** Whether a plugin can do its work now. `detail` is safe to show. */
export interface Health {
  readonly ok: boolean;
  readonly detail?: string;
}

/** A plugin that is set up. */
export interface Live<P extends Tokens> {
  /** Every provided token, no more. */
  readonly services: Served<P>;
  readonly routes?: readonly Route[];
  readonly sockets?: readonly SocketRoute[];
  /** Facts for /healthz: auth, tls, cluster, store, acl, durability. */
  readonly posture?: Readonly<Record<string, string>>;
  /** Facts for /info, asked when it is asked. */
  info?(): Partial<Info>;
  /** After every setup and before the bus listens: loops, consumers. */
  start?(): Promise<void>;
  health?(): Promise<Health>;
}

/** A plugin: one default export of one file. */
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
  /** How long its setup may take, in milliseconds, where that is longer than for others. */
  readonly setupBudgetMs?: number;
  /** What its configuration alone says, for another plugin's refusal at boot: pure, and asked before any setup. */
  facts?(config: Static<C>): Readonly<Record<string, string>>;
  setup(ctx: Context<Static<C>>, use: Served<R> & Partial<Served<O>>): Promise<Live<P>>;
}

type None = Record<never, never>;

/** Declares a plugin, so that the compiler checks it. */
export function definePlugin<
  C extends TObject,
  P extends Tokens = None,
  R extends Tokens = None,
  O extends Tokens = None,
>(plugin: Plugin<C, P, R, O>): Plugin<C, P, R, O> {
  return plugin;
}
