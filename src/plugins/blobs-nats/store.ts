/**
 * The blob store of a cluster, in one JetStream stream (stream.ts has its subjects).
 * Chunks are written first. Then one atomic batch writes the blob's entry, its owner's charge and the end of the
 * upload, each with a compare-and-set, so a crash never leaves one without the others. A commit that loses a
 * compare-and-set is retried; one without an answer is settled by `#settle`. Used by the blobs plugin through
 * `BlobStore`.
 */
import {
  type BlobStore,
  blobCharge,
  type ChargedBlob,
  overQuota,
  type PutBlob,
  type StoredBlob,
  unwritableBlob,
} from "../../contracts/blobs.ts";
import type { Log } from "../../contracts/plugin.ts";
import { KeyedMutex } from "../../lib/keyed-mutex.ts";
import { type ApiReply, fullCodes, type JetStream, jsCode } from "../../nats/jetstream.ts";
import { lastMessage, nextMessage } from "../../nats/messages.ts";
import { isUnibusError, type UnibusError } from "../../wire/errors.ts";
import { Charges, chargePayload } from "./charges.ts";
import { expectReply, unanswered } from "./errors.ts";
import { blobStream, expectedLast, isLost, listSubjects, purge, subjects } from "./stream.ts";
import { type Received, Upload, type UploadState } from "./upload.ts";

/** How often a commit is retried after it lost a compare-and-set. */
const attemptsMax = 50;
/** Maximum pause before a retry, in milliseconds. */
const pauseMsMax = 40;
/** Share of the account's disk that blobs may use. The rest is for the control plane, which must never run out. */
const diskShareMax = 0.8;
/** How long a measurement of the account's disk usage is used, in milliseconds. */
const spaceAgeMsMax = 1_000;

/** A blob's entry, as stored in its message. */
interface BlobEntry extends Omit<Received, "hash"> {
  readonly upload: string;
  readonly owner: string;
}

interface Account extends ApiReply {
  readonly storage: number;
  readonly limits: { readonly max_storage: number };
}

/** Whether an error means that the disk is full. */
const isFullDisk = (error: unknown): boolean => {
  const { cause } = error as { readonly cause?: { readonly err_code?: number } };
  return fullCodes.includes(cause?.err_code ?? 0);
};

/**
 * Stores blobs in a JetStream object store that every node serves. A blob's entry, its owner's charge and the end of
 * its upload are one atomic write: no crash can leave one without the others.
 */
export class NatsBlobs implements BlobStore {
  readonly #js: JetStream;
  readonly #log: Log;
  readonly #charges: Charges;
  readonly #commits = new KeyedMutex();
  /** Bytes that blobs may still use: those of the last measurement, less the chunks admitted since. */
  #space = { left: 0, at: Number.NEGATIVE_INFINITY };

  #measuring: Promise<void> | null = null;

  constructor(js: JetStream, log: Log) {
    this.#js = js;
    this.#log = log;
    this.#charges = new Charges(js);
  }

  async put(
    chunks: AsyncIterable<Uint8Array>,
    owner: string,
    known: string | null,
    bytesMax: number,
  ): Promise<PutBlob> {
    const upload = new Upload(this.#js);
    try {
      const received = await upload.receive(this.#withinSpace(chunks), known);
      // Parallel commits of one owner would only lose the compare-and-set against each other.
      const commit = () => this.#commit(upload, received, owner, bytesMax);
      return await this.#charges.during(owner, () => this.#commits.hold(owner, commit));
    } catch (error) {
      await this.#clear(upload);
      if (isFullDisk(error)) throw unwritableBlob(error, true);
      throw isUnibusError(error) ? error : unwritableBlob(error, false);
    }
  }

  async get(hash: string): Promise<StoredBlob | null> {
    const entry = await this.#entry(hash);
    if (entry === null) return null;
    const chunks = this.#chunks(hash, entry);
    // Read the first chunk now, while an error can still become the reply.
    let ahead: IteratorResult<Uint8Array> | null = await chunks.next();
    const body = new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          const { done, value } = ahead ?? (await chunks.next());
          ahead = null;
          if (done) controller.close();
          else controller.enqueue(value);
        },
        async cancel() {
          await chunks.return(undefined);
        },
      },
      // Read nothing before the client asks for it.
      { highWaterMark: 0 },
    );
    return { size: entry.size, body };
  }

  bytesOf(owner: string): Promise<number> {
    return this.#charges.bytesOf(owner);
  }

  async *list(): AsyncGenerator<ChargedBlob> {
    for await (const [hash] of listSubjects(this.#js, "blob")) {
      const entry = await this.#entry(hash);
      if (entry !== null) yield { hash, owner: entry.owner };
    }
  }

  /** Raises the charges of blobs that an older version stored to the minimum charge. Errors: unavailable. */
  raiseCharges(): Promise<void> {
    return this.#charges.raise(async () => {
      const sizes = new Map<string, number[]>();
      for await (const [hash] of listSubjects(this.#js, "blob")) {
        const entry = await this.#entry(hash);
        if (entry !== null) sizes.set(entry.owner, [...(sizes.get(entry.owner) ?? []), entry.size]);
      }
      return sizes;
    });
  }

  /**
   * Commits an upload exactly once, even if others store the same blob or charge the same owner. Errors: quota,
   * unavailable.
   */
  async #commit(upload: Upload, received: Received, owner: string, bytesMax: number): Promise<PutBlob> {
    const { hash, ...parts } = received;
    const entry: BlobEntry = { ...parts, upload: upload.id, owner };
    for (let tries = 1; tries <= attemptsMax; tries++) {
      const [charge, there] = await Promise.all([this.#charges.read(owner), this.#entry(hash)]);
      if (there !== null) {
        await this.#clear(upload);
        return { hash, isNew: false };
      }
      const bytes = charge.bytes + blobCharge(entry.size);
      if (bytes > bytesMax) throw overQuota(bytesMax);
      const reply = await this.#write(upload, { hash, entry, bytes, charge: charge.revision });
      const isDone = reply === null ? await this.#settle(upload, hash) : reply.error === undefined;
      if (isDone) {
        // A sweep removes what remains of the upload if this fails.
        purge(this.#js, subjects.open(upload.id)).catch(() => undefined);
        this.#charges.note(owner, bytes);
        return { hash, isNew: true };
      }
      if (reply === null) throw unanswered("no reply to the commit");
      if (!isLost(reply)) expectReply(reply, jsCode.batchIncomplete, jsCode.tooManyBatches);
      await new Promise((resolve) => setTimeout(resolve, Math.random() * pauseMsMax));
    }
    throw unanswered("too many changes at once");
  }

  /** Writes the commit. Returns null if there is no answer, so that the outcome is unknown. */
  async #write(upload: Upload, change: { hash: string; entry: BlobEntry; bytes: number; charge: number }) {
    const { hash, entry, bytes, charge } = change;
    const after = (seq: number) => ({ [expectedLast]: String(seq) });
    const state: UploadState = "done";
    const drafts = [
      { subject: subjects.blob(hash), payload: JSON.stringify(entry), headers: after(0) },
      { subject: subjects.charge(entry.owner), payload: chargePayload(bytes), headers: after(charge) },
      { subject: subjects.open(upload.id), payload: state, headers: after(upload.marker) },
    ];
    return this.#js.publishBatch(drafts).catch((cause) => {
      this.#log.warn("no reply to the commit of a blob", { cause });
      return null;
    });
  }

  /** Determines whether an unanswered commit succeeded: its upload can be given up only if it never will. */
  async #settle(upload: Upload, hash: string): Promise<boolean> {
    if (await upload.giveUp()) return false;
    return (await this.#entry(hash))?.upload === upload.id;
  }

  /** Gives up an uncommitted upload. A sweep removes it if this fails. */
  async #clear(upload: Upload): Promise<void> {
    await upload
      .giveUp()
      .catch((cause) => this.#log.debug("could not give up an upload: a sweep will remove it", { cause }));
  }

  async #entry(hash: string): Promise<BlobEntry | null> {
    const found = await lastMessage(this.#js, blobStream, subjects.blob(hash));
    return found === null ? null : (JSON.parse(Buffer.from(found.data).toString()) as BlobEntry);
  }

  /** Yields the chunks of a blob; the last one only if all of them match the blob's hash. Errors: unavailable. */
  async *#chunks(hash: string, entry: BlobEntry): AsyncGenerator<Uint8Array> {
    const hasher = new Bun.CryptoHasher("sha256");
    let from = entry.first;
    for (let index = 1; index <= entry.chunks; index++) {
      const found = await nextMessage(this.#js, blobStream, subjects.chunk(entry.upload), from);
      if (found === null) throw this.#corrupt(hash);
      hasher.update(found.data);
      if (index === entry.chunks && hasher.digest("hex") !== hash) throw this.#corrupt(hash);
      yield found.data;
      from = found.seq + 1;
    }
  }

  #corrupt(hash: string): UnibusError {
    this.#log.error("blob is corrupt: its chunks do not match its hash", { hash });
    return unanswered("a corrupt blob");
  }

  /** Yields chunks while blobs may use more of the disk. Errors: unavailable. */
  async *#withinSpace(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    await this.#takeSpace(0);
    for await (const chunk of chunks) {
      await this.#takeSpace(chunk.byteLength);
      yield chunk;
    }
  }

  /**
   * Takes disk space for a chunk. Uploads at once share what the last measurement found, so that together they do not
   * use the part of the control plane. Errors: unavailable.
   */
  async #takeSpace(bytes: number): Promise<void> {
    if (this.#space.left <= bytes || performance.now() - this.#space.at > spaceAgeMsMax) {
      this.#measuring ??= this.#measure().finally(() => {
        this.#measuring = null;
      });
      await this.#measuring;
    }
    if (this.#space.left <= bytes) throw unanswered({ err_code: jsCode.noSpaceInAccount });
    this.#space.left -= bytes;
  }

  async #measure(): Promise<void> {
    const { storage, limits } = expectReply(await this.#js.call<Account>("INFO", ""));
    const most = limits.max_storage <= 0 ? Number.POSITIVE_INFINITY : limits.max_storage * diskShareMax;
    this.#space = { left: most - storage, at: performance.now() };
  }
}
