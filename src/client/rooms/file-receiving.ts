/**
 * The file of a message, as a receiver reads it: verified part by part, in order. A file in parts has a manifest, which
 * is compared with the message first. Every part is compared with the manifest before its content is passed on, so a
 * part that was swapped, shortened or moved is refused. At most two parts of the usual size are fetched ahead.
 * Source: docs/protocol/envelope.md.
 */
import { saveFile } from "#files";
import { free } from "../../lib/free.ts";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";
import type { BlobRef } from "../../wire/frame.ts";
import { decodeManifest, partBytes } from "../../wire/parts.ts";
import { sealBytes } from "../crypto/sealing.ts";
import { checkOptions, fileReadChecks } from "../option-checks.ts";
import type { FileProgress } from "./file-sending.ts";
import type { Message } from "./message.ts";
import { persistently, type RoomBlobs } from "./room-blobs.ts";

/** How many bytes of parts are on their way at once; a single part may be larger. */
const aheadBytesMax = 2 * (partBytes + sealBytes);
/** Default limit of `bytes`, in bytes. */
const bytesMaxDefault = 64 * 1_048_576;

/** The options of reading a file. */
export interface FileReadOptions {
  /** The number of the first part to read, from 0. Default: 0. */
  readonly from?: number | undefined;
  /** Called with each part that was verified. */
  readonly onProgress?: ((progress: FileProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The options of `save`. */
export interface FileSaveOptions extends Omit<FileReadOptions, "from"> {
  /** Whether to replace an existing file. Default: false. */
  readonly overwrite?: boolean | undefined;
}

/** The file of a message. Nothing is fetched until it is read. */
export class ReceivedFile {
  /** The name that the sender states, or null. For people: never use it as a path. */
  readonly name: string | null;
  /** The media type that the sender states, or null. */
  readonly mediaType: string | null;
  /** In bytes, as the sender states it. Reading fails if the content has another size. */
  readonly size: number;
  #parts: readonly BlobRef[] | null = null;

  constructor(
    private readonly blobs: RoomBlobs,
    private readonly message: Pick<Message, "blob" | "epoch" | "header"> & { readonly blob: BlobRef },
  ) {
    const { blob, header } = message;
    this.name = header.fileName ?? null;
    this.mediaType = header.mediaType ?? null;
    this.size = header.parts === undefined ? Math.max(0, blob.sz - sealBytes) : Number(header.parts.size);
  }

  /** The hash of the blob that the message names, in hex: it identifies the content. */
  get hash(): string {
    return this.message.blob.h;
  }

  /**
   * The references of the parts, in order; of a file that is one blob, that one.
   * Errors: not_found; invalid for a manifest that does not fit the message.
   */
  async parts(signal?: AbortSignal): Promise<readonly BlobRef[]> {
    const { blob, header } = this.message;
    if (header.parts === undefined) return [blob];
    this.#parts ??= decodeManifest(
      await persistently(() => this.blobs.get(this.message, signal), signal),
      header.parts,
    );
    if (this.#parts !== null) return this.#parts;
    throw new UnibusError("invalid", "the list of this file's parts does not fit the message (ask for the file again)");
  }

  /**
   * The content, part by part: each is verified before it is returned.
   * Errors: not_found; invalid, naming the part, if the server returned something else; unavailable.
   */
  chunks(options: FileReadOptions = {}): AsyncGenerator<Uint8Array, void> {
    checkOptions("file", options, fileReadChecks);
    return this.#chunks(options);
  }

  async *#chunks({ from = 0, onProgress, signal }: FileReadOptions): AsyncGenerator<Uint8Array, void> {
    const parts = await this.parts(signal);
    const stop = new AbortController();
    const either = signal === undefined ? stop.signal : AbortSignal.any([stop.signal, signal]);
    const ahead: Promise<Uint8Array>[] = [];
    let [next, aheadBytes, done] = [from, 0, 0];
    for (const { sz } of parts.slice(0, from)) done += sz - sealBytes;
    try {
      for (const { sz } of parts.slice(from)) {
        for (; next < parts.length; next++) {
          const size = parts[next]?.sz ?? 0;
          if (ahead.length > 0 && aheadBytes + size > aheadBytesMax) break;
          const fetched = this.#part(parts, next, either);
          // The error is thrown when its turn comes.
          fetched.catch(() => undefined);
          ahead.push(fetched);
          aheadBytes += size;
        }
        const part = (await ahead.shift()) as Uint8Array;
        signal?.throwIfAborted();
        aheadBytes -= sz;
        done += part.length;
        yield part;
        onProgress?.({ done, total: this.size });
      }
    } finally {
      stop.abort();
    }
  }

  async #part(parts: readonly BlobRef[], at: number, signal: AbortSignal): Promise<Uint8Array> {
    try {
      return await persistently(
        () => this.blobs.get({ blob: parts[at] as BlobRef, epoch: this.message.epoch }, signal),
        signal,
      );
    } catch (error) {
      if (parts.length === 1 || !isUnibusError(error)) throw error;
      throw new UnibusError(error.code, `part ${at + 1} of ${parts.length}: ${error.message}`, { cause: error });
    }
  }

  /** The content as a stream of bytes. Errors: those of `chunks`. */
  stream(options: FileReadOptions = {}): ReadableStream<Uint8Array> {
    const chunks = this.chunks(options);
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          const { done, value } = await chunks.next();
          if (done) controller.close();
          else controller.enqueue(value);
        },
        cancel: async () => void (await chunks.return()),
      },
      { highWaterMark: 0 },
    );
  }

  /** The whole content. Errors: those of `chunks`; too_large above `max` bytes (default: 64 MiB). */
  async bytes({
    max = bytesMaxDefault,
    onProgress,
    signal,
  }: Omit<FileReadOptions, "from"> & { readonly max?: number } = {}): Promise<Uint8Array> {
    if (this.size > max) {
      throw new UnibusError(
        "too_large",
        `the file has ${this.size} bytes, more than ${max} (read it with stream or save)`,
      );
    }
    const content = new Uint8Array(this.size);
    let at = 0;
    for await (const chunk of this.chunks({ onProgress, signal })) {
      content.set(chunk, at);
      at += chunk.length;
      free(chunk);
    }
    return content;
  }

  /**
   * Writes the content to a file, for Bun and Node, through a temporary file beside it. After an interruption, a call
   * with the same path continues after the parts that are there, once they are verified.
   * Errors: those of `chunks`; conflict if the file exists; invalid for a path that cannot be written.
   */
  async save(path: string, options: FileSaveOptions = {}): Promise<void> {
    checkOptions("save", options, fileReadChecks);
    return saveFile(this, () => this.blobs.roomOf(this.message.epoch, options.signal), path, options);
  }
}
