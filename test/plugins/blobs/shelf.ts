/** The blobs plugin over a disk, in this process: its routes as a request reaches them. */
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BlobStore } from "../../../src/contracts/blobs.ts";
import type { Context, Log, RawReply, Route, Site } from "../../../src/contracts/plugin.ts";
import blobsPlugin from "../../../src/plugins/blobs/index.ts";
import disk from "../../../src/plugins/blobs-disk/index.ts";
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
const log: Log = { debug: silent, info: silent, warn: silent, error: silent };

function contextOf<C>(dataDir: string, config: C): Context<C> {
  const site = { dataDir } as Site;
  return { config, site, log, now: Date.now, signal: new AbortController().signal, onStop: silent };
}

/** What a POST came to. */
export interface Posted {
  readonly status: number | ErrorCode;
  readonly hash: string | null;
  readonly message: string;
}

/** Blobs in a temporary folder, which goes with the scope that holds it. */
export class Shelf implements Disposable {
  readonly #routes: readonly Route[];

  private constructor(
    readonly path: string,
    readonly store: BlobStore,
    routes: readonly Route[],
  ) {
    this.#routes = routes;
  }

  /** A shelf with a quota for each user; `path` where it opens one that is there. */
  static async open(bytesMax?: number, path = mkdtempSync(join(tmpdir(), "unibus-blobs-"))): Promise<Shelf> {
    const { services } = await disk.setup(contextOf(path, {}), {});
    const config = bytesMax === undefined ? {} : { bytes_per_user: bytesMax };
    const { routes = [] } = await blobsPlugin.setup(contextOf(path, config), services);
    return new Shelf(path, services.blobs, routes);
  }

  /** POST /blobs; `hash` where the request promises one, which its chunks then keep. */
  async post(owner: string, chunks: AsyncIterable<Uint8Array>, hash: string | null = null): Promise<Posted> {
    const call = { stream: Object.assign(chunks, { hash }), caller: { endpoint: owner } };
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
      return { headers: reply.headers, bytes: await (reply.body as Blob).bytes() };
    } catch (error) {
      if (isUnibusError(error) && error.code === "not_found") return null;
      throw error;
    }
  }

  /** Every file below the folder, by its path. */
  files(): string[] {
    const found = readdirSync(join(this.path, "blobs"), { recursive: true, withFileTypes: true });
    return found.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }

  #handle(method: string): Route["handle"] {
    const found = this.#routes.find((route) => route.method === method);
    if (found === undefined) throw new Error(`no ${method} route`);
    return found.handle;
  }
}
