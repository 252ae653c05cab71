/**
 * Sends a file to a room. One that fits into a blob is one blob. A larger one, or one of unknown size, is sent in parts
 * of 2 MiB, each a blob, and then their manifest (docs/protocol/envelope.md). One part is encrypted while at most two
 * are on their way, so memory does not grow with the file.
 *
 * The message has one epoch, which applies to all parts. If the room's key changes during the upload, a source that can
 * be read again is sent again with the new key. After a failure, what was stored is deleted again.
 */
import { openPath } from "#files";
import { free } from "../../lib/free.ts";
import { piecesOf } from "../../lib/pieces.ts";
import { blobBytesMax } from "../../wire/api.ts";
import { payloadOf } from "../../wire/envelope.ts";
import { hasCode, UnibusError } from "../../wire/errors.ts";
import type { BlobRef } from "../../wire/frame.ts";
import { encodeManifest, type PartsTag, partBytes, partsMax } from "../../wire/parts.ts";
import { sealBlob } from "../crypto/frames.ts";
import { type SealedBlob, sealBytes } from "../crypto/sealing.ts";
import { checkOptions, fileChecks } from "../option-checks.ts";
import { waitFor } from "../transport/wait.ts";
import type { FileSource } from "./file-source.ts";
import { persistently, type RoomBlobs, type StoredBlob } from "./room-blobs.ts";
import type { RoomSender } from "./room-sender.ts";
import { type SayOptions, type Sent, sayingOf } from "./saying.ts";

/** How many parts are on their way at once. */
const partsAtOnce = 2;
/** How often a file is sent if the room's key changes during each upload. */
const attemptsMax = 3;
/** How long a part may be on its way after a failure before it is cut off, in milliseconds. */
const settleMs = 10_000;
/** How long the deletion of what was stored may take after a failure, in milliseconds. */
const releaseMs = 10_000;

/** How far a transfer is. */
export interface FileProgress {
  /** Bytes of the file that were transferred and, in a download, verified. */
  readonly done: number;
  /** The size of the file; null if it is not known. */
  readonly total: number | null;
}

/** The options of `sendFile`. */
export interface FileOptions extends Omit<SayOptions, "blob" | "kind" | "fileName"> {
  /** The name that the members see. Default: the name of the file; a stream has none. */
  readonly name?: string | undefined;
  /** A text beside the file. */
  readonly caption?: string | undefined;
  /** The size of a stream, if it is known, in bytes. */
  readonly size?: number | undefined;
  /** Called after each part. */
  readonly onProgress?: ((progress: FileProgress) => void) | undefined;
}

/** A path (Bun and Node), a `File` or `Blob`, or a stream of bytes. */
export type FileInput = string | Blob | ReadableStream<Uint8Array>;

/** Reads a stream to its end, or cancels it. */
async function* chunksOf(stream: ReadableStream<Uint8Array>, signal?: AbortSignal): AsyncGenerator<Uint8Array, void> {
  const reader = stream.getReader();
  const read = () => waitFor(reader.read(), signal);
  try {
    for (let next = await read(); !next.done; next = await read()) {
      if (!(next.value instanceof Uint8Array)) throw new UnibusError("invalid", "a chunk of the stream is not bytes");
      yield next.value;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** The source of a file. Errors: invalid, not_found. */
async function sourceOf(given: FileInput, { size, signal }: FileOptions): Promise<FileSource> {
  if (typeof given === "string") return openPath(given);
  if (given instanceof Blob) {
    const { name = null } = given as Partial<File>;
    return {
      name,
      mediaType: given.type || null,
      size: given.size,
      isRepeatable: true,
      open: () => chunksOf(given.stream(), signal),
    };
  }
  if (given instanceof ReadableStream) {
    return {
      name: null,
      mediaType: null,
      size: size ?? null,
      isRepeatable: false,
      open: () => chunksOf(given, signal),
    };
  }
  throw new UnibusError("invalid", "sendFile: the file must be a path, a Blob or a ReadableStream (pass one of these)");
}

/** What a file became: the blob that its message names, and the tag of one in parts. */
interface Uploaded {
  readonly stored: StoredBlob;
  readonly parts: PartsTag | undefined;
}

/** One attempt to store a file, under one epoch. */
class Upload {
  /** What was stored, or may have been. */
  readonly #refs: BlobRef[] = [];
  readonly #flying: Promise<void>[] = [];
  /** Ends the attempts to store a part, and those that are under way. */
  readonly #stop = new AbortController();
  readonly #cut = new AbortController();
  #done = 0;

  constructor(
    private readonly blobs: RoomBlobs,
    private readonly epoch: number,
    private readonly source: FileSource,
    private readonly options: FileOptions,
  ) {}

  /** Stores the file. `check` is called before each part. Errors: those of reading, of `putBlob` and of `check`. */
  async run(check: () => void): Promise<Uploaded> {
    const { signal } = this.options;
    const { size, open } = this.source;
    const room = await this.blobs.roomOf(this.epoch, signal);
    const isOne = size !== null && size <= blobBytesMax - sealBytes;
    let total = 0;
    const add = async (plain: Uint8Array) => {
      check();
      total += plain.length;
      if (this.#refs.length === partsMax) throw new UnibusError("too_large", "too many parts (split the file)");
      const { length } = plain;
      await this.#store(await sealBlob(plain, room), length);
    };
    try {
      for await (const part of piecesOf(open(), isOne ? size || 1 : partBytes)) {
        signal?.throwIfAborted();
        await add(part);
      }
      if (total !== (size ?? total)) throw new UnibusError("invalid", `read ${total} bytes, not ${size} (try again)`);
      if (total === 0) await add(new Uint8Array());
      await waitFor(Promise.all(this.#flying), signal);
      const parts = { size: BigInt(total), count: this.#refs.length };
      const manifest = parts.count > 1 ? await sealBlob(encodeManifest(this.#refs), room) : null;
      if (manifest !== null) await this.#store(manifest, 0);
      await waitFor(Promise.all(this.#flying), signal);
      const blob = this.#refs.at(-1) as BlobRef;
      return { stored: { blob, epoch: this.epoch }, parts: manifest === null ? undefined : parts };
    } finally {
      this.#stop.abort();
      // A request that is cut may still be carried out, after the deletion of what it stores.
      const settled = Promise.allSettled(this.#flying);
      await waitFor(settled, AbortSignal.timeout(settleMs)).catch(() => this.#cut.abort());
      await settled;
    }
  }

  /** Begins to store a part, as soon as few enough others are on their way. */
  async #store(sealed: SealedBlob, bytes: number): Promise<void> {
    const { onProgress, offline, signal } = this.options;
    if (this.#flying.length === partsAtOnce) {
      await waitFor(this.#flying[0] as Promise<void>, signal);
      this.#flying.shift();
    }
    this.#refs.push(sealed.ref);
    const store = () => this.blobs.store(sealed, this.#cut.signal);
    const stored = (offline === "refuse" ? store() : persistently(store, this.#stop.signal)).then(() => {
      free(sealed.ciphertext);
      this.#done += bytes;
      onProgress?.({ done: this.#done, total: this.source.size });
    });
    // The error is thrown when its turn comes.
    stored.catch(() => undefined);
    this.#flying.push(stored);
  }

  /** Deletes what was stored, as far as the server can be reached: otherwise it stays in this user's quota. */
  async release(): Promise<void> {
    const hashes = this.#refs.map(({ h }) => h);
    await this.blobs.release(hashes, AbortSignal.timeout(releaseMs)).catch(() => undefined);
  }
}

/** What `sendFile` uses of a room. */
export interface FileSendingDeps {
  readonly sender: RoomSender;
  readonly blobs: RoomBlobs;
}

/** Whether a message may arrive although its sending failed, so that its file must stay. */
const mayArrive = (error: unknown): boolean =>
  !(error instanceof UnibusError) || hasCode(error, "timeout") || hasCode(error, "unavailable");

/** Sends a file: see `Conversation.sendFile`. */
export async function sendFile(
  { sender, blobs }: FileSendingDeps,
  given: FileInput,
  options: FileOptions,
): Promise<Sent> {
  checkOptions("sendFile", options, fileChecks);
  const { name, mediaType, caption = "", size: _, onProgress: __, ...place } = options;
  const source = await sourceOf(given, options);
  const saying = () => {
    const about = { fileName: name ?? source.name ?? undefined, mediaType: mediaType ?? source.mediaType ?? undefined };
    return sayingOf(sender.clock, caption, { ...place, ...about, kind: "file" });
  };
  // Refuses a wrong name before anything is read.
  const { t, header, body } = saying();
  payloadOf(t, header, body);
  for (let attempt = 1; ; attempt++) {
    const epoch = await sender.prepare(options.signal);
    const upload = new Upload(blobs, epoch, source, options);
    let isStored = false;
    try {
      const { stored, parts } = await upload.run(() => sender.checkEpoch(epoch));
      isStored = true;
      const said = saying();
      const file = { ...said, b: stored.blob, header: { ...said.header, parts } };
      return await sender.say(file, { ...place, blob: stored });
    } catch (error) {
      if (isStored && mayArrive(error)) throw error;
      await upload.release();
      const isMoved = hasCode(error, "conflict") && sender.epoch !== epoch;
      if (!isMoved || !source.isRepeatable || attempt === attemptsMax) throw error;
    }
  }
}
