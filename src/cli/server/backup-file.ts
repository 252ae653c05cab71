/**
 * The file format of a backup, the same for every store: one JSON value per line. The first line is a header with
 * format and version, then come the rows in export order, and the last line contains the number of rows and the sha256
 * of everything before it. A file is written whole or not at all. `backup` and `restore` use this.
 */
import { createHash, randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { type FileHandle, link, open, unlink } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { SealedKeyRecord, SnapshotRoom, SnapshotRow, StayRecord } from "../../contracts/store.ts";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";
import { openNamed } from "../input.ts";
import { RowCounter, type RowCounts } from "./backup-rows.ts";

/** What the server needs besides a backup, as `backup` and `restore` print it. */
export const besideBackup = "messages (nats/store with internal.json), files (blobs), and plugins.json";

const format = "unibus-backup";
const formatVersion = 1;
/** Maximum length of a line, in bytes: more than any row needs. */
const lineBytesMax = 16 * 1_048_576;
/** Size of the write buffer, in bytes. */
const bufferBytes = 1_048_576;

/** A backup that was written or read completely. */
export interface BackupFile extends RowCounts {
  /** Of everything before the end line, lowercase hex. */
  readonly sha256: string;
}

const isRow = (value: unknown): value is SnapshotRow => {
  const { kind } = value as { kind?: unknown };
  return typeof kind === "string" && ["user", "invite", "room", "stay", "key", "statement"].includes(kind);
};

/** Buffers, hashes and writes lines. */
class Lines {
  readonly #file: FileHandle;
  readonly #hash = createHash("sha256");
  #gathered = "";

  constructor(file: FileHandle) {
    this.#file = file;
  }

  async add(value: unknown): Promise<void> {
    this.#gathered += `${JSON.stringify(value)}\n`;
    if (this.#gathered.length >= bufferBytes) await this.#flush();
  }

  /** Writes the end line and returns the hash of everything before it. */
  async end(rows: number): Promise<string> {
    await this.#flush();
    const sha256 = this.#hash.digest("hex");
    await this.#file.writeFile(`${JSON.stringify({ end: { rows, sha256 } })}\n`);
    await this.#file.sync();
    return sha256;
  }

  async #flush(): Promise<void> {
    const text = this.#gathered;
    this.#gathered = "";
    this.#hash.update(text);
    await this.#file.writeFile(text);
  }
}

const isThere = (file: string, cause?: unknown) =>
  new UnibusError("conflict", `${file} exists (it is never overwritten: name another file)`, { cause });

/**
 * Writes a backup to a new file that only its owner can read: completely or not at all. `report` receives the progress.
 * Errors: conflict if the file exists; invalid if it cannot be written; those of `rows`.
 */
export async function writeBackup(
  file: string,
  rows: AsyncIterable<SnapshotRow>,
  report: (rows: number) => void = () => undefined,
): Promise<BackupFile> {
  if (existsSync(file)) throw isThere(file);
  const folder = dirname(resolve(file));
  const draft = join(folder, `.unibus-backup-${randomUUID()}`);
  const counter = new RowCounter();
  try {
    const handle = await open(draft, "wx", 0o600);
    let sha256: string;
    try {
      const lines = new Lines(handle);
      await lines.add({ format, version: formatVersion, created_at: new Date().toISOString() });
      for await (const row of counter.pass(rows, report)) await lines.add(row);
      sha256 = await lines.end(counter.counts.rows);
    } finally {
      await handle.close();
    }
    // A link never replaces a file, and the name appears only with the complete content.
    await link(draft, file);
    const above = await open(folder, "r");
    await above.sync().finally(() => above.close());
    return { ...counter.counts, sha256 };
  } catch (cause) {
    if (isUnibusError(cause)) throw cause;
    const code = (cause as { code?: string }).code ?? "";
    if (code === "EEXIST") throw isThere(file, cause);
    throw new UnibusError("invalid", `${file} cannot be written: ${code} (name another place)`, { cause });
  } finally {
    await unlink(draft).catch(() => undefined);
  }
}

/**
 * Yields the lines of a file with their line feeds. Errors: invalid for a line that is too long, and for a file that
 * cannot be read.
 */
async function* linesOf(file: string): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0);
  const { stream, size } = await openNamed(file);
  // It is read several times, which a pipe or a device does not allow.
  if (size === null) throw new UnibusError("invalid", `${file} is not a regular file (name a backup)`);
  for await (const chunk of stream) {
    let bytes = rest.byteLength === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk]);
    for (let end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10)) {
      yield bytes.subarray(0, end + 1);
      bytes = bytes.subarray(end + 1);
    }
    if (bytes.byteLength > lineBytesMax) throw damaged(file, "a line is too long");
    rest = bytes;
  }
  if (rest.byteLength > 0) yield rest;
}

function damaged(file: string, what: string, cause?: unknown): UnibusError {
  return new UnibusError("invalid", `${file}: ${what} (use another backup)`, { cause });
}

function parsed(file: string, line: Buffer, number: number): Record<string, unknown> {
  try {
    const value = JSON.parse(line.toString()) as unknown;
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch {
    // Reported below, with the line number.
  }
  throw damaged(file, `line ${number} is not a JSON object`);
}

function checkHeader(file: string, header: Record<string, unknown>): void {
  if (header.format !== format) throw new UnibusError("invalid", `${file} is not a unibus backup (name another file)`);
  if (header.version === formatVersion) return;
  const hint = "restore it with the unibus that wrote it, or a newer one";
  throw new UnibusError("invalid", `${file} has format version ${header.version} (${hint})`);
}

const isCut = (file: string) => damaged(file, "it is truncated: its end line is missing");

/** When a backup was taken, in milliseconds since the epoch. Errors: those of `readBackup`. */
export async function backupTime(file: string): Promise<number> {
  if (!existsSync(file)) throw noFile(file);
  for await (const line of linesOf(file)) {
    const header = parsed(file, line, 1);
    checkHeader(file, header);
    const at = Date.parse(String(header.created_at));
    if (!Number.isNaN(at)) return at;
    throw damaged(file, "its first line has no time");
  }
  throw isCut(file);
}

const noFile = (file: string) => new UnibusError("not_found", `no such file: ${file} (name a backup)`);

/** Upgrades a row of version 0.1.0: its members have accepted, and the room's creator pays for keys. */
function upgraded(row: SnapshotRow, room: SnapshotRoom | null): SnapshotRow {
  if (row.kind === "stay") {
    const { acceptedAt = room?.createdAt ?? 0, addedBy = null } = row.stay as Partial<StayRecord>;
    return { ...row, stay: { ...row.stay, acceptedAt, addedBy } };
  }
  if (row.kind === "key") {
    const { chargedTo = room?.creator ?? row.key.endpoint } = row.key as Partial<SealedKeyRecord>;
    return { ...row, key: { ...row.key, chargedTo } };
  }
  return row;
}

/**
 * Yields the rows of a backup. Only when it ends without an error is the backup known to be complete and unchanged, so
 * read it once before using its rows.
 * Errors: not_found; invalid for a file that is truncated, changed, or not a backup.
 */
export async function* readBackup(file: string): AsyncGenerator<SnapshotRow> {
  if (!existsSync(file)) throw noFile(file);
  const hash = createHash("sha256");
  let number = 0;
  let isWhole = false;
  let room: SnapshotRoom | null = null;
  for await (const line of linesOf(file)) {
    number += 1;
    if (isWhole) throw damaged(file, "lines follow its end line");
    const value = parsed(file, line, number);
    if (number === 1) checkHeader(file, value);
    const { end } = value as { end?: { rows?: unknown; sha256?: unknown } };
    if (end !== undefined) {
      if (end.rows !== number - 2) throw damaged(file, `its end line says ${end.rows} rows, but it has ${number - 2}`);
      if (end.sha256 !== hash.digest("hex")) throw damaged(file, "its content does not match the hash in its end line");
      isWhole = true;
      continue;
    }
    hash.update(line);
    if (number === 1) continue;
    if (!isRow(value)) throw damaged(file, `line ${number} is not a row`);
    if (value.kind === "room") room = value.room;
    yield upgraded(value, room);
  }
  if (!isWhole) throw isCut(file);
}
