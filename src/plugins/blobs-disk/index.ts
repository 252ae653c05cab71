/**
 * Stores blobs as files for a single node: `by-hash/ab/HASH`, and for each user who claims it a hard link
 * `by-owner/OWNER/HASH`, which is also the charge. An upload is written to `incoming`, synced, linked into its owner's
 * folder and then renamed to its hash. The claim comes first and goes last, so a crash can leave a claim without a blob
 * but never a blob without a claim. Used by the blobs plugin
 * through `BlobStore`, and by the migration commands through `list`.
 */
import { randomUUID } from "node:crypto";
import { mkdirSync, rmSync, type Stats } from "node:fs";
import { type FileHandle, link, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Type } from "@sinclair/typebox";
import { BlobStore, blobCharge, type ChargedBlob, type PutBlob, unwritableBlob } from "../../contracts/blobs.ts";
import { definePlugin } from "../../contracts/plugin.ts";
import { free } from "../../lib/free.ts";
import { KeyedMutex } from "../../lib/keyed-mutex.ts";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";

const isCode = (error: unknown, code: string): boolean => (error as { code?: unknown }).code === code;

const unwritable = (cause: unknown) => unwritableBlob(cause, isCode(cause, "ENOSPC"));

/** The names in a folder, or none if the folder does not exist. */
function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch((error: unknown) => {
    if (isCode(error, "ENOENT")) return [];
    throw error;
  });
}

/** What is known of a file, or null if it does not exist. */
function statOf(path: string): Promise<Stats | null> {
  return stat(path).catch((error: unknown) => {
    if (isCode(error, "ENOENT")) return null;
    throw error;
  });
}

/** Syncs a folder, so that its entries survive a power failure. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Creates a folder and its parents so that they survive a power failure. */
async function makeFolder(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let at = dirname(folder); at.length >= dirname(first).length; at = dirname(at)) await syncFolder(at);
}

/** The result of naming a draft, and the bytes charged to its owner. */
type Named = PutBlob & { readonly charge: number };

async function write(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.byteLength; ) at += (await file.write(chunk, at)).bytesWritten;
  free(chunk);
}

/** Writes chunks to a new file, each while the next one arrives, and returns the hash of the whole. */
async function receive(file: FileHandle, chunks: AsyncIterable<Uint8Array>, known: string | null): Promise<string> {
  const hasher = known === null ? new Bun.CryptoHasher("sha256") : null;
  let writing = Promise.resolve();
  try {
    for await (const chunk of chunks) {
      hasher?.update(chunk);
      await writing;
      writing = write(file, chunk);
      // The error is thrown at the next await. Until then the next chunk may be a long time coming.
      writing.catch(() => undefined);
    }
  } finally {
    await writing;
  }
  await file.sync();
  return known ?? hasher?.digest("hex") ?? "";
}

/** A blob store below one folder. */
class DiskBlobs implements BlobStore {
  readonly #charged = new Map<string, Promise<number>>();
  /** By hash: of two uploads the second one finds the blob stored, and no upload meets a release halfway. */
  readonly #naming = new KeyedMutex();

  constructor(private readonly folder: string) {
    mkdirSync(this.#incoming, { recursive: true, mode: 0o700 });
  }

  /** Removes unfinished uploads of a crash. Only for the server, because a command on the host may run beside it. */
  clear(): void {
    rmSync(this.#incoming, { recursive: true, force: true });
    mkdirSync(this.#incoming, { recursive: true, mode: 0o700 });
  }

  async put(chunks: AsyncIterable<Uint8Array>, owner: string, known: string | null): Promise<PutBlob> {
    const draft = join(this.#incoming, randomUUID());
    let named: Named;
    try {
      const file = await open(draft, "wx", 0o600);
      const hash = await receive(file, chunks, known).finally(() => file.close());
      named = await this.#naming.hold(hash, () => this.#name(draft, hash, owner));
    } catch (error) {
      throw isUnibusError(error) ? error : unwritable(error);
    } finally {
      // A draft that cannot be removed is removed at the next start.
      await rm(draft, { force: true }).catch(() => undefined);
    }
    const { hash, isNew, charge } = named;
    // The last step, so that a caller that also counts reserved bytes counts none twice for longer than this turn.
    this.#charge(owner, charge);
    return { hash, isNew };
  }

  async release(hash: string, owner: string): Promise<boolean> {
    try {
      return await this.#naming.hold(hash, () => this.#release(hash, owner));
    } catch (error) {
      throw isUnibusError(error) ? error : unwritable(error);
    }
  }

  async get(hash: string): Promise<{ size: number; body: Blob } | null> {
    const file = Bun.file(this.#fileOf(hash));
    return (await file.exists()) ? { size: file.size, body: file } : null;
  }

  bytesOf(owner: string): Promise<number> {
    const known =
      this.#charged.get(owner) ??
      this.#sum(owner).catch((error: unknown) => {
        this.#charged.delete(owner);
        throw unwritable(error);
      });
    this.#charged.set(owner, known);
    return known;
  }

  async *list(): AsyncGenerator<ChargedBlob> {
    try {
      for (const owner of await namesIn(this.#ownerFolder(""))) {
        for (const hash of await namesIn(this.#ownerFolder(owner))) {
          if (await Bun.file(this.#fileOf(hash)).exists()) yield { hash, owner };
        }
      }
    } catch (error) {
      throw new UnibusError("unavailable", "cannot list the blobs (check the permissions of their folder)", {
        cause: error,
      });
    }
  }

  #charge(owner: string, bytes: number): void {
    if (bytes === 0) return;
    const charged = this.bytesOf(owner).then((before) => before + bytes);
    this.#charged.set(owner, charged);
    // An error is that of the next read.
    charged.catch(() => undefined);
  }

  get #incoming(): string {
    return join(this.folder, "incoming");
  }

  #fileOf(hash: string): string {
    return join(this.folder, "by-hash", hash.slice(0, 2), hash);
  }

  #ownerFolder(owner: string): string {
    return join(this.folder, "by-owner", owner);
  }

  /** Claims the blob, and renames the draft to its hash unless the blob exists. */
  async #name(draft: string, hash: string, owner: string): Promise<Named> {
    const file = this.#fileOf(hash);
    const claim = join(this.#ownerFolder(owner), hash);
    await Promise.all([file, claim].map((path) => makeFolder(dirname(path))));
    // Read before there is another file to count.
    await this.bytesOf(owner);
    const isNew = !(await Bun.file(file).exists());
    const claimed = await statOf(claim);
    // A crash left this claim without its blob. It must be the same file as the blob, because its links are counted.
    if (claimed !== null && isNew) await rm(claim);
    if (claimed === null || isNew) await link(isNew ? draft : file, claim);
    const { size } = await stat(claim);
    if (isNew) await rename(draft, file);
    await Promise.all([file, claim].map((path) => syncFolder(dirname(path))));
    return { hash, isNew, charge: claimed === null ? blobCharge(size) : 0 };
  }

  /** Ends a claim. The blob goes before the last claim does. */
  async #release(hash: string, owner: string): Promise<boolean> {
    const file = this.#fileOf(hash);
    const claim = join(this.#ownerFolder(owner), hash);
    const claimed = await statOf(claim);
    if (claimed === null) return false;
    // Read before there is a file less to count.
    await this.bytesOf(owner);
    const stored = await statOf(file);
    if (stored !== null && !(await this.#isClaimedByOthers(hash, owner, stored, claimed))) {
      await rm(file, { force: true });
      await syncFolder(dirname(file));
    }
    await rm(claim);
    await syncFolder(dirname(claim));
    this.#charge(owner, -blobCharge(claimed.size));
    return true;
  }

  /** Whether another user claims a blob. Its links are counted; if a copy of the folder broke them, it is searched. */
  async #isClaimedByOthers(hash: string, owner: string, stored: Stats, claimed: Stats): Promise<boolean> {
    if (stored.ino === claimed.ino) return stored.nlink > 2;
    for (const other of await namesIn(this.#ownerFolder(""))) {
      if (other !== owner && (await statOf(join(this.#ownerFolder(other), hash))) !== null) return true;
    }
    return false;
  }

  async #sum(owner: string): Promise<number> {
    const folder = this.#ownerFolder(owner);
    let bytes = 0;
    for (const name of await namesIn(folder)) bytes += blobCharge((await stat(join(folder, name))).size);
    return bytes;
  }
}

/** Provides blob storage on this node's disk. */
export default definePlugin({
  name: "blobs-disk",
  api: 1,
  config: Type.Object({}, { additionalProperties: false }),
  provides: { blobs: BlobStore },
  async setup({ site }) {
    const blobs = new DiskBlobs(join(site.dataDir, "blobs"));
    return { services: { blobs }, start: async () => blobs.clear() };
  },
});
