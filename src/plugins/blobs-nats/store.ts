/**
 * The blob store of a cluster, in one JetStream stream (stream.ts has its subjects).
 * Chunks are written first. Then one atomic batch writes the blob's entry, which names the users who claim it, the
 * charge of one of them and the end of the upload, each with a compare-and-set, so a crash never leaves one without the
 * others. A commit that loses a compare-and-set is retried; one without an answer is settled by `#settle`. Used by the
 * blobs plugin through `BlobStore`.
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
import {
  type ApiReply,
  type Draft,
  fullCodes,
  type JetStream,
  jsCode,
  type PublishReply,
} from "../../nats/jetstream.ts";
import { lastMessage, nextMessage } from "../../nats/messages.ts";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";
import { Charges, chargePayload } from "./charges.ts";
import { expectReply, unanswered } from "./errors.ts";
import { blobStream, expectedLast, isLost, listSubjects, purge, purgeUpTo, subjects } from "./stream.ts";
import { type Received, Upload, type UploadState } from "./upload.ts";

/** How often a commit is retried after it lost a compare-and-set. */
const attemptsMax = 50;
/** Maximum pause before a retry, in milliseconds. */
const pauseMsMax = 40;
/** Share of the account's disk that blobs may use. The rest is for the control plane, which must never run out. */
const diskShareMax = 0.8;
/** How long a measurement of the account's disk usage is used, in milliseconds. */
const spaceAgeMsMax = 1_000;

/** How many users may claim one blob: its entry names all of them. */
const claimsMax = 1_000;

/** A blob's entry. */
interface BlobEntry extends Omit<Received, "hash"> {
  readonly upload: string;
  /** The endpoints of the users who claim the blob. Never empty. */
  readonly owners: readonly string[];
}

/** An entry as stored in its message. Without owners the blob is gone. Before 0.2.0 there was one `owner`. */
type KeptEntry = Omit<BlobEntry, "owners"> & { readonly owners?: readonly string[]; readonly owner?: string };

/** What the stream has of a blob: its entry or null, and the revision for a compare-and-set. */
interface FoundEntry {
  readonly entry: BlobEntry | null;
  readonly revision: number;
}

interface Account extends ApiReply {
  readonly storage: number;
  readonly limits: { readonly max_storage: number };
}

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, Math.random() * pauseMsMax));

const after = (seq: number) => ({ [expectedLast]: String(seq) });

function tooManyClaims(): UnibusError {
  const hint = "encrypt the content again, which makes another blob";
  return new UnibusError("quota", `${claimsMax} users have stored this blob, which is the limit (${hint})`);
}

/** Whether an error means that the disk is full. */
const isFullDisk = (error: unknown): boolean => {
  const { cause } = error as { readonly cause?: { readonly err_code?: number } };
  return fullCodes.includes(cause?.err_code ?? 0);
};

/**
 * Stores blobs in a JetStream object store that every node serves. A blob's entry, the charge of a user who claims it
 * and the end of the upload are one atomic write: no crash can leave one without the others.
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
      for (const owner of (await this.#entry(hash))?.owners ?? []) yield { hash, owner };
    }
  }

  release(hash: string, owner: string): Promise<boolean> {
    return this.#charges.during(owner, () => this.#commits.hold(owner, () => this.#release(hash, owner)));
  }

  /** Raises the charges of blobs that an older version stored to the minimum charge. Errors: unavailable. */
  raiseCharges(): Promise<void> {
    return this.#charges.raise(async () => {
      const sizes = new Map<string, number[]>();
      for await (const [hash] of listSubjects(this.#js, "blob")) {
        const entry = await this.#entry(hash);
        for (const owner of entry?.owners ?? []) sizes.set(owner, [...(sizes.get(owner) ?? []), entry?.size ?? 0]);
      }
      return sizes;
    });
  }

  /**
   * Commits an upload exactly once, even if others store the same blob or charge the same owner. If the blob exists,
   * the owner claims that one. Errors: quota, unavailable.
   */
  async #commit(upload: Upload, received: Received, owner: string, bytesMax: number): Promise<PutBlob> {
    const { hash, ...parts } = received;
    for (let tries = 1; tries <= attemptsMax; tries++) {
      const [charge, there] = await Promise.all([this.#charges.read(owner), this.#find(hash)]);
      const owners = there.entry?.owners ?? [];
      if (owners.includes(owner)) {
        await this.#clear(upload);
        return { hash, isNew: false };
      }
      const bytes = charge.bytes + blobCharge(parts.size);
      if (bytes > bytesMax) throw overQuota(bytesMax);
      if (owners.length >= claimsMax) throw tooManyClaims();
      const isNew = there.entry === null;
      const entry = { ...(there.entry ?? { ...parts, upload: upload.id }), owners: [...owners, owner] };
      const state: UploadState = isNew ? "done" : "void";
      const reply = await this.#write([
        { subject: subjects.blob(hash), payload: JSON.stringify(entry), headers: after(there.revision) },
        { subject: subjects.open(upload.id), payload: state, headers: after(upload.marker) },
        { subject: subjects.charge(owner), payload: chargePayload(bytes), headers: after(charge.revision) },
      ]);
      if (reply === null ? await this.#settle(upload, hash, owner) : reply.error === undefined) {
        this.#discard(upload.id, isNew);
        if (reply === null) this.#charges.forget(owner);
        else this.#charges.note(owner, { bytes, revision: reply.seq });
        return { hash, isNew };
      }
      if (reply === null) throw unanswered("no reply to the commit");
      if (!isLost(reply)) expectReply(reply, jsCode.batchIncomplete, jsCode.tooManyBatches);
      await pause();
    }
    throw unanswered("too many changes at once");
  }

  /** Ends a claim. Returns false if there is none. Errors: unavailable. */
  async #release(hash: string, owner: string): Promise<boolean> {
    let isUnsure = false;
    for (let tries = 1; tries <= attemptsMax; tries++) {
      const [charge, { entry, revision }] = await Promise.all([this.#charges.read(owner), this.#find(hash)]);
      // Without an answer it may have been this call that ended the claim.
      if (entry === null || !entry.owners.includes(owner)) return isUnsure;
      const owners = entry.owners.filter((other) => other !== owner);
      const bytes = Math.max(0, charge.bytes - blobCharge(entry.size));
      const state: UploadState = "void";
      // The mark of an ended upload: a sweep removes the chunks if this node does not.
      const mark = owners.length > 0 ? [] : [{ subject: subjects.open(entry.upload), payload: state }];
      const reply = await this.#write([
        { subject: subjects.blob(hash), payload: JSON.stringify({ ...entry, owners }), headers: after(revision) },
        ...mark,
        { subject: subjects.charge(owner), payload: chargePayload(bytes), headers: after(charge.revision) },
      ]);
      if (reply === null) {
        isUnsure = true;
        this.#charges.forget(owner);
      } else if (reply.error === undefined) {
        this.#charges.note(owner, { bytes, revision: reply.seq });
        if (owners.length === 0) await this.#remove(hash, entry.upload, reply.seq);
        return true;
      } else if (!isLost(reply)) expectReply(reply, jsCode.batchIncomplete, jsCode.tooManyBatches);
      await pause();
    }
    throw unanswered("too many changes at once");
  }

  /** Removes the bytes of a blob without claims, and its entry up to a sequence: there may be a newer one already. */
  async #remove(hash: string, upload: string, upTo: number): Promise<void> {
    try {
      await purge(this.#js, subjects.chunk(upload));
      await purge(this.#js, subjects.open(upload));
      await purgeUpTo(this.#js, subjects.blob(hash), upTo);
    } catch (cause) {
      this.#log.debug("could not remove a blob without claims: a sweep will do it", { cause });
    }
  }

  /** Writes a commit. Returns null if there is no answer, so that the outcome is unknown. */
  async #write(drafts: readonly Draft[]): Promise<PublishReply | null> {
    return this.#js.publishBatch(drafts).catch((cause) => {
      this.#log.warn("no reply to a change of a blob", { cause });
      return null;
    });
  }

  /** Determines whether an unanswered commit succeeded: its upload can be given up only if it never will. */
  async #settle(upload: Upload, hash: string, owner: string): Promise<boolean> {
    if (await upload.giveUp()) return false;
    return (await this.#entry(hash))?.owners.includes(owner) === true;
  }

  /** Removes what remains of a committed upload. A sweep does it if this fails. */
  #discard(upload: string, isNew: boolean): void {
    const removal = isNew ? Promise.resolve() : purge(this.#js, subjects.chunk(upload));
    removal.then(() => purge(this.#js, subjects.open(upload))).catch(() => undefined);
  }

  /** Gives up an uncommitted upload. A sweep removes it if this fails. */
  async #clear(upload: Upload): Promise<void> {
    await upload
      .giveUp()
      .catch((cause) => this.#log.debug("could not give up an upload: a sweep will remove it", { cause }));
  }

  async #find(hash: string): Promise<FoundEntry> {
    const found = await lastMessage(this.#js, blobStream, subjects.blob(hash));
    if (found === null) return { entry: null, revision: 0 };
    const { owner = "", owners = [owner], ...kept } = JSON.parse(Buffer.from(found.data).toString()) as KeptEntry;
    return { entry: owners.length === 0 ? null : { ...kept, owners }, revision: found.seq };
  }

  async #entry(hash: string): Promise<BlobEntry | null> {
    return (await this.#find(hash)).entry;
  }

  /** Yields the chunks of a blob; the last one only if all of them match the blob's hash. Errors: unavailable. */
  async *#chunks(hash: string, entry: BlobEntry): AsyncGenerator<Uint8Array> {
    const hasher = new Bun.CryptoHasher("sha256");
    let from = entry.first;
    for (let index = 1; index <= entry.chunks; index++) {
      const found = await nextMessage(this.#js, blobStream, subjects.chunk(entry.upload), from);
      if (found === null) throw await this.#lost(hash, entry);
      hasher.update(found.data);
      if (index === entry.chunks && hasher.digest("hex") !== hash) throw this.#corrupt(hash);
      yield found.data;
      from = found.seq + 1;
    }
  }

  /** The error for a missing chunk: the blob may have been deleted while it was read. */
  async #lost(hash: string, { upload }: BlobEntry): Promise<UnibusError> {
    return (await this.#entry(hash))?.upload === upload ? this.#corrupt(hash) : unanswered("the blob was deleted");
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
