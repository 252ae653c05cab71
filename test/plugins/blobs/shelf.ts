/** The blobs plugin over a store, in this process; tests call its routes directly. */
import { createHash } from "node:crypto";
import type { BlobStore } from "../../../src/contracts/blobs.ts";
import type { Context, Log, RawReply, Route, Site } from "../../../src/contracts/plugin.ts";
import blobsPlugin from "../../../src/plugins/blobs/index.ts";
import { type ErrorCode, isUnibusError } from "../../../src/wire/errors.ts";

/** One mebibyte. */
export const mebibyte = 1_048_576;

/** Lowercase hex SHA-256. */
export const hashOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** Bytes that are unique to their seed. */
export function bytesOf(seed: number, size = 1_000): Uint8Array {
  const bytes = new Uint8Array(size).fill(seed & 255);
  new DataView(bytes.buffer).setUint32(0, seed);
  return bytes;
}

/** A body in chunks, as it comes from a socket. */
export async function* pieces(bytes: Uint8Array, size = 256 * 1_024): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += size) {
    await new Promise((resolve) => setImmediate(resolve));
    yield bytes.slice(at, at + size);
  }
}

const silent = (): undefined => undefined;
/** A log that discards everything. */
export const silentLog: Log = { debug: silent, info: silent, warn: silent, error: silent };

/** A plugin's setup context, in a data directory. */
export function contextOf<C>(dataDir: string, config: C, signal = new AbortController().signal): Context<C> {
  const site = { dataDir } as Site;
  return { config, site, log: silentLog, now: Date.now, signal, onStop: silent, progress: silent };
}

/** Outcome of a POST. */
export interface Posted {
  readonly status: number | ErrorCode;
  readonly hash: string | null;
  readonly message: string;
}

/** A store of blobs that a test opened. */
export interface OpenBlobs {
  readonly store: BlobStore;
  /** What uploads left besides complete blobs: files, or upload entries and their chunks. */
  leftovers(): Promise<string[]>;
  /** Stored bytes of incomplete uploads. */
  underWay(): Promise<number>;
  /** Opens the same blobs again, as a restart or another node does. */
  again(): Promise<OpenBlobs>;
  close(): unknown;
}

/** The routes over a store. Disposing it closes the store. */
export class Shelf implements AsyncDisposable {
  readonly #routes: readonly Route[];

  private constructor(
    readonly blobs: OpenBlobs,
    routes: readonly Route[],
  ) {
    this.#routes = routes;
  }

  /** Opens a shelf with a quota for each user. */
  static async open(blobs: OpenBlobs, bytesMax?: number): Promise<Shelf> {
    const config = bytesMax === undefined ? {} : { bytes_per_user: bytesMax };
    const { routes = [] } = await blobsPlugin.setup(contextOf("", config), { blobs: blobs.store });
    return new Shelf(blobs, routes);
  }

  get store(): BlobStore {
    return this.blobs.store;
  }

  /** POST /blobs. If `hash` is given, the request promises it, and the chunks must match. */
  async post(
    owner: string,
    chunks: AsyncIterable<Uint8Array>,
    { hash = null, size = null }: { readonly hash?: string | null; readonly size?: number | null } = {},
  ): Promise<Posted> {
    const call = { stream: Object.assign(chunks, { hash, size }), caller: { endpoint: owner } };
    try {
      const reply = (await this.#handle("POST")(call as never)) as RawReply;
      const { hash } = JSON.parse(reply.body as string) as { hash: string };
      return { status: reply.status, hash, message: "" };
    } catch (error) {
      if (!isUnibusError(error)) throw error;
      return { status: error.code, hash: null, message: error.message };
    }
  }

  /** GET /blobs/{hash}. */
  async get(hash: string): Promise<{ headers: Readonly<Record<string, string>>; bytes: Uint8Array } | null> {
    try {
      const reply = (await this.#handle("GET")({ params: { hash } } as never)) as RawReply;
      return { headers: reply.headers, bytes: await new Response(reply.body as ReadableStream).bytes() };
    } catch (error) {
      if (isUnibusError(error) && error.code === "not_found") return null;
      throw error;
    }
  }

  /** DELETE /blobs/{hash}. */
  async release(owner: string, hash: string): Promise<"released" | ErrorCode> {
    try {
      await this.#handle("DELETE")({ params: { hash }, caller: { endpoint: owner } } as never);
      return "released";
    } catch (error) {
      if (!isUnibusError(error)) throw error;
      return error.code;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.blobs.close();
  }

  #handle(method: string): Route["handle"] {
    const found = this.#routes.find(({ spec }) => spec.method === method);
    if (found === undefined) throw new Error(`no ${method} route`);
    return found.handle;
  }
}
