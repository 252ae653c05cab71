import { token } from "./plugin.ts";

/** A blob that is there. */
export interface StoredBlob {
  readonly size: number;
  /** Its bytes, read as they are asked for. */
  readonly body: Blob;
}

/** What a put came to. */
export interface PutBlob {
  /** Lowercase hex sha256 of the bytes. */
  readonly hash: string;
  /** False when it was there already: then nobody is charged for it. */
  readonly isNew: boolean;
}

/** Ciphertexts by their hash, each charged to whoever brought it first. */
export interface BlobStore {
  /**
   * Stores what comes, hashed while it comes; nobody sees part of it, and an error of `chunks` leaves nothing.
   * Shape: the chunks are the store's from then on, who gave them uses them no more; `hash` is what they hash to once
   * they have ended without an error, where their source sees to that, else null.
   * Errors: those of `chunks`; unavailable when it cannot be written.
   */
  put(chunks: AsyncIterable<Uint8Array>, owner: string, hash: string | null): Promise<PutBlob>;
  get(hash: string): Promise<StoredBlob | null>;
  /** Bytes charged to an owner. */
  bytesOf(owner: string): Promise<number>;
}

/** The blobs. */
export const BlobStore = token<BlobStore>("blob-store");
