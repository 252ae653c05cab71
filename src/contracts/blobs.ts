import { UnibusError } from "../wire/errors.ts";
import { token } from "./plugin.ts";

/** What a blob is charged at least, in bytes: what one of two bytes costs on disk. Source: spec 9. */
export const blobBytesMin = 4_096;

/** What a blob is charged, in bytes. */
export function blobCharge(size: number): number {
  return Math.max(blobBytesMin, size);
}

/** A blob that is there. */
export interface StoredBlob {
  readonly size: number;
  /** Its bytes, read as they are asked for; what ends without an error is all of them. */
  readonly body: Blob | ReadableStream<Uint8Array>;
}

/** A blob by name, and who is charged for it. */
export interface ChargedBlob {
  readonly hash: string;
  readonly owner: string;
}

/** What a put came to. */
export interface PutBlob {
  /** Lowercase hex sha256 of the bytes. */
  readonly hash: string;
  /** False when it was there already: then nobody is charged for it. */
  readonly isNew: boolean;
}

/** Ciphertexts by their hash, each charged to whoever brought it first, as `blobCharge` says. */
export interface BlobStore {
  /**
   * Stores what comes, hashed while it comes; nobody sees part of it, and an error of `chunks` leaves nothing.
   * Shape: the chunks are the store's from then on, who gave them uses them no more; `hash` is what they hash to once
   * they have ended without an error, where their source sees to that, else null.
   * Units: `bytesMax` in bytes, what the owner may be charged in all. A store that several nodes share holds it, since
   * none of them sees what is under way at the others.
   * Errors: those of `chunks`; unavailable when it cannot be written; quota, as of `overQuota`.
   */
  put(chunks: AsyncIterable<Uint8Array>, owner: string, hash: string | null, bytesMax: number): Promise<PutBlob>;
  /** Errors: unavailable when nobody can say. */
  get(hash: string): Promise<StoredBlob | null>;
  /** Bytes charged to an owner; where nodes share the store, as of a second ago at most. Errors: unavailable. */
  bytesOf(owner: string): Promise<number>;
  /** Every blob, in any order. Never on the path of a request. Errors: unavailable. */
  list(): AsyncIterable<ChargedBlob>;
}

/** The error for a blob too much. */
export function overQuota(bytesMax: number): UnibusError {
  return new UnibusError("quota", `your blobs may have ${bytesMax} bytes in all (ask an admin for more)`);
}

/** The error for a blob that cannot be written. */
export function unwritableBlob(cause: unknown, isFull: boolean): UnibusError {
  const mend = isFull ? "its disk is full" : "see its log";
  return new UnibusError("unavailable", `the server cannot store the blob (${mend})`, { cause });
}

/** The blobs. */
export const BlobStore = token<BlobStore>("blob-store");
