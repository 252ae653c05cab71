/**
 * Copies rows and blobs from one store to another, and verifies the copy. `migrate-to-kv` and `migrate-to-sqlite` use
 * it.
 * Every step is idempotent, so an interrupted migration can be run again. `clearTarget` refuses a target with newer
 * rows, because overwriting them would, for example, undo a revocation.
 */
import type { BlobStore, ChargedBlob, StoredBlob } from "../../contracts/blobs.ts";
import type { InviteStore, Snapshot } from "../../contracts/store.ts";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";
import { printNote } from "../print.ts";
import { Progress } from "../progress.ts";
import { type Difference, differences, RowCounter, type RowCounts } from "./backup-rows.ts";

/** How many differences are printed; the rest are only counted. */
const namedMax = 20;

/** One side of a migration. */
export interface End {
  readonly snapshot: Snapshot;
  readonly invites: InviteStore;
  /** Undefined if no plugin stores blobs. */
  readonly blobs: BlobStore | undefined;
}

/** Prints faults to stderr as they are found, up to a limit. */
class Faults {
  count = 0;

  add(what: string): void {
    this.count += 1;
    if (this.count <= namedMax) printNote(what);
    if (this.count === namedMax + 1) printNote("and more");
  }
}

/** Counts the rows of a store. */
export async function countRows(store: Snapshot): Promise<RowCounts> {
  const counter = new RowCounter();
  using progress = new Progress("counted rows");
  for await (const _ of counter.pass(store.exportAll(), progress.report));
  return counter.counts;
}

/** Why a row of the target must not be overwritten, or null if it is missing or older. */
function whyNewer({ here, there }: Difference): string | null {
  if (there === null) return null;
  if (here === null) {
    // The room's version covers the parts of a room.
    return there.kind === "user" || there.kind === "invite" || there.kind === "room" ? "is not in the source" : null;
  }
  const isNewer =
    (here.kind === "user" && there.kind === "user" && here.user.revokedAt === null && there.user.revokedAt !== null) ||
    (here.kind === "invite" &&
      there.kind === "invite" &&
      here.invite.usedAt === null &&
      there.invite.usedAt !== null) ||
    (here.kind === "stay" && there.kind === "stay" && here.stay.leftAt === null && there.stay.leftAt !== null) ||
    (here.kind === "room" &&
      there.kind === "room" &&
      (there.room.version > here.room.version || (here.room.deletedAt === null && there.room.deletedAt !== null)));
  return isNewer ? "is newer than in the source" : null;
}

/**
 * Checks that a copy would undo nothing that happened in the target, such as a removal. Cancels the first admin's
 * invite of a target without users.
 * Errors: conflict, and then nothing is written.
 */
export async function clearTarget(from: Snapshot, to: End): Promise<void> {
  const faults = new Faults();
  const counter = new RowCounter();
  const unused: string[] = [];
  for await (const difference of differences(from.exportAll(), counter.pass(to.snapshot.exportAll()))) {
    const { name, here, there } = difference;
    const why = whyNewer(difference);
    if (why === null) continue;
    if (here === null && there?.kind === "invite" && there.invite.usedAt === null) unused.push(there.invite.id);
    faults.add(`${name} ${why}`);
  }
  if (faults.count > unused.length || (unused.length > 0 && counter.counts.users > 0)) {
    const hint = "migrate into an empty one; nothing was written";
    throw new UnibusError(
      "conflict",
      `the target has ${faults.count} rows that the copy would overwrite with older ones (${hint})`,
    );
  }
  await voidInvites(to.invites, unused);
}

/** Cancels the first admin's invites of an unused bus, because another bus's users move into it. */
export async function voidInvites(invites: InviteStore, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    await invites.deleteInvite(id);
    printNote(`the invite ${id} is void: it was for the first admin of an empty bus`);
  }
}

/** Copies every row. Idempotent. */
export async function copyRows(from: Snapshot, to: Snapshot, rows: number): Promise<void> {
  using progress = new Progress("rows", rows);
  await to.importAll(new RowCounter().pass(from.exportAll(), progress.report));
}

/** Compares both stores and prints the differences to stderr. Returns their number. */
export async function countDifferences(from: Snapshot, to: Snapshot): Promise<number> {
  const faults = new Faults();
  for await (const { name, here, there } of differences(from.exportAll(), to.exportAll())) {
    const how = here === null ? "is only in the target" : there === null ? "is only in the source" : "differs";
    faults.add(`${name} ${how}`);
  }
  return faults.count;
}

/** The result of copying blobs. */
export interface CopiedBlobs {
  readonly blobs: number;
  readonly blob_bytes: number;
  /** Number of blobs that could not be copied. */
  readonly lost: number;
}

const bytesOf = ({ body }: StoredBlob): AsyncIterable<Uint8Array> =>
  (body instanceof Blob ? body.stream() : body) as AsyncIterable<Uint8Array> & ReadableStream<Uint8Array>;

/** Yields the bytes of a blob, and throws at the end if they do not match its hash. */
async function* verified(blob: StoredBlob, hash: string): AsyncGenerator<Uint8Array> {
  const hasher = new Bun.CryptoHasher("sha256");
  for await (const chunk of bytesOf(blob)) {
    hasher.update(chunk);
    yield chunk;
  }
  if (hasher.digest("hex") !== hash) throw new UnibusError("invalid", "its content does not match its hash");
}

async function isWhole(blobs: BlobStore, hash: string): Promise<boolean> {
  const blob = await blobs.get(hash);
  if (blob === null) return false;
  for await (const _ of verified(blob, hash));
  return true;
}

/** Counts the blobs of a store. */
export async function countBlobs(blobs: BlobStore): Promise<number> {
  return new Set((await Array.fromAsync(blobs.list())).map(({ hash }) => hash)).size;
}

const claimText = ({ hash, owner }: ChargedBlob): string => `${hash} ${owner}`;

/** Copies each missing blob and claim, and reads the blob back. Idempotent. A damaged blob is reported and skipped. */
export async function copyBlobs(from: BlobStore, to: BlobStore): Promise<CopiedBlobs> {
  const faults = new Faults();
  const copied = new Set<string>();
  let bytes = 0;
  using progress = new Progress("blobs");
  const there = new Set((await Array.fromAsync(to.list())).map(claimText));
  for await (const { hash, owner } of from.list()) {
    try {
      const blob = await from.get(hash);
      if (blob === null) throw new UnibusError("not_found", "it is gone");
      if (!there.has(claimText({ hash, owner })) || !(await isWhole(to, hash))) {
        await to.put(verified(blob, hash), owner, hash, Number.POSITIVE_INFINITY);
        if (!(await isWhole(to, hash))) throw new UnibusError("unavailable", "the target does not have it");
      }
      if (!copied.has(hash)) bytes += blob.size;
      copied.add(hash);
      progress.report(copied.size);
    } catch (error) {
      if (!isUnibusError(error)) throw error;
      faults.add(`blob ${hash}: ${error.message}`);
    }
  }
  return { blobs: copied.size, blob_bytes: bytes, lost: faults.count };
}
