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
import { isUnibusError, type UnibusError } from "../../wire/errors.ts";
import { blobCode, type Calls, expectReply, type Reply, unanswered } from "./calls.ts";
import { Charges, chargePayload } from "./charges.ts";
import { blobStream, expectedLast, isLost, listSubjects, purge, subjects } from "./stream.ts";
import { type Received, Upload, type UploadState } from "./upload.ts";

/** How often a commit is made again that others came before. */
const attemptsMax = 50;
/** How long one waits before it is made again, at most, in milliseconds. */
const pauseMsMax = 40;
/** The part of the account's disk that blobs may take: the rest is for the control plane, which must never be full. */
const diskShareMax = 0.8;
/** How old what is known of the account's disk may be, in milliseconds. */
const spaceAgeMsMax = 1_000;

/** What JetStream says when a disk, a server or an account takes no more. */
const fullCodes: ReadonlySet<number> = new Set([blobCode.noSpaceInAccount, blobCode.noResources, blobCode.noSpace]);

/** A blob as its message says it. */
interface BlobEntry extends Omit<Received, "hash"> {
  readonly upload: string;
  readonly owner: string;
}

interface Account extends Reply {
  readonly storage: number;
  readonly limits: { readonly max_storage: number };
}

/** Whether an error is that there is no room. */
const isFullDisk = (error: unknown): boolean => {
  const { cause } = error as { readonly cause?: { readonly err_code?: number } };
  return fullCodes.has(cause?.err_code ?? 0);
};

/**
 * Blobs in an object store of JetStream, which every node serves. A blob's message, its owner's charge and the end of
 * its upload are one write: there is no moment with one and not the others, whoever crashes.
 */
export class NatsBlobs implements BlobStore {
  readonly #calls: Calls;
  readonly #log: Log;
  readonly #charges: Charges;
  readonly #commits = new KeyedMutex();
  #space = { isLeft: true, at: Number.NEGATIVE_INFINITY };

  constructor(calls: Calls, log: Log) {
    this.#calls = calls;
    this.#log = log;
    this.#charges = new Charges(calls);
  }

  async put(
    chunks: AsyncIterable<Uint8Array>,
    owner: string,
    known: string | null,
    bytesMax: number,
  ): Promise<PutBlob> {
    const upload = new Upload(this.#calls);
    try {
      await this.#checkSpace();
      const received = await upload.receive(chunks, known);
      // Commits of one owner would only lose races against each other.
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
    // One that cannot be read is told now, while there is no reply yet.
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
      // Nothing is read that nobody has asked for yet.
      { highWaterMark: 0 },
    );
    return { size: entry.size, body };
  }

  bytesOf(owner: string): Promise<number> {
    return this.#charges.bytesOf(owner);
  }

  async *list(): AsyncGenerator<ChargedBlob> {
    for await (const [hash] of listSubjects(this.#calls, "blob")) {
      const entry = await this.#entry(hash);
      if (entry !== null) yield { hash, owner: entry.owner };
    }
  }

  /** Charges blobs of an older version what they cost at least. Errors: unavailable. */
  raiseCharges(): Promise<void> {
    return this.#charges.raise(async () => {
      const sizes = new Map<string, number[]>();
      for await (const [hash] of listSubjects(this.#calls, "blob")) {
        const entry = await this.#entry(hash);
        if (entry !== null) sizes.set(entry.owner, [...(sizes.get(entry.owner) ?? []), entry.size]);
      }
      return sizes;
    });
  }

  /** Commits an upload, once, whoever brings the same blob or charges the same owner. Errors: quota, unavailable. */
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
        // What the upload leaves behind now, or if this fails, a sweep removes.
        purge(this.#calls, subjects.open(upload.id)).catch(() => undefined);
        this.#charges.note(owner, bytes);
        return { hash, isNew: true };
      }
      if (reply === null) throw unanswered("the commit was not answered");
      if (!isLost(reply)) expectReply(reply, blobCode.batchIncomplete, blobCode.tooManyBatches);
      await new Promise((resolve) => setTimeout(resolve, Math.random() * pauseMsMax));
    }
    throw unanswered("too many changes at once");
  }

  /** Makes the commit; null when nobody says how it ended. */
  async #write(upload: Upload, change: { hash: string; entry: BlobEntry; bytes: number; charge: number }) {
    const { hash, entry, bytes, charge } = change;
    const after = (seq: number) => ({ [expectedLast]: String(seq) });
    const state: UploadState = "done";
    const drafts = [
      { subject: subjects.blob(hash), payload: JSON.stringify(entry), headers: after(0) },
      { subject: subjects.charge(entry.owner), payload: chargePayload(bytes), headers: after(charge) },
      { subject: subjects.open(upload.id), payload: state, headers: after(upload.marker) },
    ];
    return this.#calls.batch(drafts).catch((cause) => {
      this.#log.warn("the commit of a blob was not answered", { cause });
      return null;
    });
  }

  /** Whether a commit took place of which nobody said so: its upload can be given up only if it never will. */
  async #settle(upload: Upload, hash: string): Promise<boolean> {
    if (await upload.giveUp()) return false;
    return (await this.#entry(hash))?.upload === upload.id;
  }

  /** Gives up what was not committed. What cannot be removed now a sweep finds. */
  async #clear(upload: Upload): Promise<void> {
    await upload.giveUp().catch((cause) => this.#log.debug("an upload is left for the sweep", { cause }));
  }

  async #entry(hash: string): Promise<BlobEntry | null> {
    const found = await this.#calls.last(blobStream, subjects.blob(hash));
    return found === null ? null : (JSON.parse(Buffer.from(found.data).toString()) as BlobEntry);
  }

  /** The chunks of a blob. The last is given only if all of them hash to the blob's name. Errors: unavailable. */
  async *#chunks(hash: string, entry: BlobEntry): AsyncGenerator<Uint8Array> {
    const hasher = new Bun.CryptoHasher("sha256");
    let from = entry.first;
    for (let index = 1; index <= entry.chunks; index++) {
      const found = await this.#calls.next(blobStream, subjects.chunk(entry.upload), from);
      if (found === null) throw this.#damaged(hash);
      hasher.update(found.data);
      if (index === entry.chunks && hasher.digest("hex") !== hash) throw this.#damaged(hash);
      yield found.data;
      from = found.seq + 1;
    }
  }

  #damaged(hash: string): UnibusError {
    this.#log.error("a blob is damaged: its chunks are not what its name says", { hash });
    return unanswered("a damaged blob");
  }

  /** Errors: unavailable when blobs would take the disk that the control plane needs. */
  async #checkSpace(): Promise<void> {
    if (performance.now() - this.#space.at > spaceAgeMsMax) {
      const { storage, limits } = expectReply(await this.#calls.api<Account>("INFO", ""));
      const isLeft = limits.max_storage <= 0 || storage < limits.max_storage * diskShareMax;
      this.#space = { isLeft, at: performance.now() };
    }
    if (!this.#space.isLeft) throw unanswered({ err_code: blobCode.noSpaceInAccount });
  }
}
