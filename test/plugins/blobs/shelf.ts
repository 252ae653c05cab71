/** The blobs plugin over a store, in this process: its routes as a request reaches them. */
import { createHash } from "node:crypto";
import type { BlobStore } from "../../../src/contracts/blobs.ts";
import type { Context, Log, RawReply, Route, Site } from "../../../src/contracts/plugin.ts";
import blobsPlugin from "../../../src/plugins/blobs/index.ts";
import { type ErrorCode, isUnibusError } from "../../../src/wire/errors.ts";

/** One mebibyte. */
export const mebibyte = 1_048_576;

/** Lowercase hex sha256. */
export const hashOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** Bytes that differ from those of every other seed. */
export function bytesOf(seed: number, size = 1_000): Uint8Array {
  const bytes = new Uint8Array(size).fill(seed & 255);
  new DataView(bytes.buffer).setUint32(0, seed);
  return bytes;
}

/** A body as it comes off a socket, in pieces. */
export async function* pieces(bytes: Uint8Array, size = 256 * 1_024): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += size) {
    await new Promise((resolve) => setImmediate(resolve));
    yield bytes.slice(at, at + size);
  }
}

const silent = (): undefined => undefined;
/** A log that nobody reads. */
export const silentLog: Log = { debug: silent, info: silent, warn: silent, error: silent };

/** What a plugin is set up with, in a data directory. */
export function contextOf<C>(dataDir: string, config: C, signal = new AbortController().signal): Context<C> {
  const site = { dataDir } as Site;
  return { config, site, log: silentLog, now: Date.now, signal, onStop: silent, progress: silent };
}

/** What a POST came to. */
export interface Posted {
  readonly status: number | ErrorCode;
  readonly hash: string | null;
  readonly message: string;
}

/** A store of blobs that a test opened. */
export interface OpenBlobs {
  readonly store: BlobStore;
  /** What uploads left that is no whole blob: files, or entries of uploads and their chunks. */
  leftovers(): Promise<string[]>;
  /** Bytes that are stored of uploads that are not whole. */
  underWay(): Promise<number>;
  /** Opens the same blobs once more, as the next start or another node does. */
  again(): Promise<OpenBlobs>;
  close(): unknown;
}

/** The routes over a store, which closes with the scope that holds them. */
export class Shelf implements AsyncDisposable {
  readonly #routes: readonly Route[];

  private constructor(
    readonly blobs: OpenBlobs,
    routes: readonly Route[],
  ) {
    this.#routes = routes;
  }

  /** A shelf with a quota for each user. */
  static async open(blobs: OpenBlobs, bytesMax?: number): Promise<Shelf> {
    const config = bytesMax === undefined ? {} : { bytes_per_user: bytesMax };
    const { routes = [] } = await blobsPlugin.setup(contextOf("", config), { blobs: blobs.store });
    return new Shelf(blobs, routes);
  }

  get store(): BlobStore {
    return this.blobs.store;
  }

  /** POST /blobs; `hash` where the request promises one, which its chunks then keep. */
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

  async [Symbol.asyncDispose](): Promise<void> {
    await this.blobs.close();
  }

  #handle(method: string): Route["handle"] {
    const found = this.#routes.find((route) => route.method === method);
    if (found === undefined) throw new Error(`no ${method} route`);
    return found.handle;
  }
}
