import { UnibusError } from "../wire/errors.ts";
import { token } from "./plugin.ts";

/** The minimum charge for a blob, in bytes: the disk usage of the smallest file. Source: docs/protocol/logins.md. */
export const blobBytesMin = 4_096;

/** The charge for a blob of a size, in bytes. */
export function blobCharge(size: number): number {
  return Math.max(blobBytesMin, size);
}

/** A stored blob. */
export interface StoredBlob {
  readonly size: number;
  /** The bytes, read on demand. A stream that ends without an error is complete. */
  readonly body: Blob | ReadableStream<Uint8Array>;
}

/** A blob's hash, and the endpoint of one of the users who claim it and are charged for it. */
export interface ChargedBlob {
  readonly hash: string;
  readonly owner: string;
}

/** The result of a put. */
export interface PutBlob {
  /** Lowercase hex sha256 of the bytes. */
  readonly hash: string;
  /** False if the blob existed already, whether or not the caller claimed it before. */
  readonly isNew: boolean;
}

/**
 * Stores encrypted blobs by their hash. Each user who stored a blob has one claim to it and is charged for it, by
 * `blobCharge`. A blob exists as long as there are claims to it.
 */
export interface BlobStore {
  /**
   * Stores a stream of chunks and hashes it on the way. A partial blob is never visible, and an error of `chunks`
   * leaves nothing behind.
   * Shape: the store owns the chunks once it receives them; the caller must not reuse them. `hash` is the expected hash
   * if the source verifies it (it then only ends without an error if the hash matches), else null.
   * Units: `bytesMax` is the owner's total quota in bytes. A store that several nodes share enforces it itself, because
   * no node sees the uploads in progress on the others.
   * Errors: those of `chunks`; unavailable if the blob cannot be written; quota, made by `overQuota`.
   */
  put(chunks: AsyncIterable<Uint8Array>, owner: string, hash: string | null, bytesMax: number): Promise<PutBlob>;
  /**
   * Ends a user's claim to a blob and gives its charge back; the bytes go with the last claim. Returns false if the
   * user has no claim. Errors: unavailable, and then the claim may have ended or not.
   */
  release(hash: string, owner: string): Promise<boolean>;
  /** Reads a blob; null if it does not exist. Errors: unavailable if the store cannot be read. */
  get(hash: string): Promise<StoredBlob | null>;
  /** Bytes charged to an owner. In a shared store the value may be up to a second old. Errors: unavailable. */
  bytesOf(owner: string): Promise<number>;
  /** Lists every claim, in any order. Too slow for the path of a request. Errors: unavailable. */
  list(): AsyncIterable<ChargedBlob>;
}

/** The error for a blob that exceeds the owner's quota. */
export function overQuota(bytesMax: number): UnibusError {
  return new UnibusError("quota", `blob quota exceeded: ${bytesMax} bytes for each user (ask an admin for more)`);
}

/** The error for a blob that cannot be written. */
export function unwritableBlob(cause: unknown, isFull: boolean): UnibusError {
  const hint = isFull ? "free space on its disk" : "see the server's log";
  return new UnibusError("unavailable", `the server cannot store the blob (${hint})`, { cause });
}

/** The token of the blob store. */
export const BlobStore = token<BlobStore>("blob-store");
