/**
 * Where a device of this peer is in its rooms: up to which message each was dealt with, and the message that `wait`
 * returned last, which the next `wait` acknowledges. A file of the client's state, replaced as a whole, so that a crash
 * leaves either the old record or the new one. One process at a time has it.
 */
import { Database } from "bun:sqlite";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Static, Type } from "@sinclair/typebox";
import { Check } from "@sinclair/typebox/value";
import { replaceFile } from "../../lib/atomic-file.ts";
import { UnibusError } from "../../wire/errors.ts";

/** How many messages are remembered, so that a copy of one that a member stored is not returned as a new one. */
const recentMax = 500;
/** How long the end of the process that has the record is waited for, in milliseconds. */
const lockWaitMs = 1_000;

const Place = Type.Object({ room: Type.String(), seq: Type.Integer({ minimum: 1 }) });
const Saved = Type.Object({
  rooms: Type.Record(Type.String(), Type.Integer({ minimum: 0 })),
  returned: Type.Union([Place, Type.Null()]),
  last: Type.Union([Type.String(), Type.Null()]),
  recent: Type.Array(Type.String()),
  saved_ms: Type.Integer({ minimum: 0 }),
});

/** The place of a message: its room's id, and its sequence number in the history. */
export type WaitPlace = Static<typeof Place>;

/** Locks a device with SQLite's exclusive lock on a file, which ends with the process however that dies. */
function lock(folder: string, device: string): Database {
  let taken: Database | undefined;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    taken = new Database(join(folder, `${device}.lock`), { create: true });
    taken.exec(`PRAGMA busy_timeout = ${lockWaitMs}; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE`);
    return taken;
  } catch (cause) {
    taken?.close();
    if ((cause as { code?: string }).code === "SQLITE_BUSY") {
      const hint = "let it end, or name another device with --device";
      throw new UnibusError("conflict", `another unibus wait of the device ${device} is running (${hint})`);
    }
    throw new UnibusError("unavailable", `${folder} cannot be used (check its permissions)`, { cause });
  }
}

/** The record of one device. */
export class WaitRecord implements Disposable {
  readonly #file: string;
  readonly #lock: Database;
  readonly #rooms: Map<string, number>;
  readonly #recent: Set<string>;
  #returned: WaitPlace | null;
  #last: string | null;
  /** When the record was written last, in milliseconds since 1970. */
  readonly savedMs: number;

  /** Opens a record, or a new one. Errors: conflict if another process has it; invalid if it is damaged. */
  constructor(folder: string, device: string) {
    this.#lock = lock(folder, device);
    this.#file = join(folder, `${device}.json`);
    try {
      const { rooms, returned, last, recent, saved_ms } = this.#read();
      this.savedMs = saved_ms;
      this.#rooms = new Map(Object.entries(rooms));
      this.#recent = new Set(recent);
      this.#returned = returned;
      this.#last = last;
    } catch (error) {
      this.#lock.close();
      throw error;
    }
  }

  /** The message that was returned last, and is not acknowledged. */
  get returned(): WaitPlace | null {
    return this.#returned;
  }

  /** The room of the message that was returned last, acknowledged or not. */
  get last(): string | null {
    return this.#last;
  }

  /** Up to which sequence number a room was dealt with; undefined for a room that was never waited for. */
  position(roomId: string): number | undefined {
    return this.#rooms.get(roomId);
  }

  /** Whether a message was returned before. `key` is its sender and id. */
  hasReturned(key: string): boolean {
    return this.#recent.has(key);
  }

  /** Acknowledges the message that was returned last. */
  acknowledge(): void {
    if (this.#returned === null) return;
    this.pass(this.#returned.room, this.#returned.seq);
    this.#returned = null;
  }

  /** Records that a room has nothing to return up to a sequence number. */
  pass(roomId: string, seq: number): void {
    this.#rooms.set(roomId, Math.max(seq, this.#rooms.get(roomId) ?? 0));
  }

  /** Sets the position in a room that is new, or whose history was replaced. */
  place(roomId: string, seq: number): void {
    this.#rooms.set(roomId, seq);
  }

  /** Records that a message is returned. Its `place` is null in a room that keeps no messages. */
  returns(roomId: string, place: WaitPlace | null, key: string): void {
    this.#last = roomId;
    this.#returned = place;
    this.#recent.delete(key);
    this.#recent.add(key);
    for (const oldest of this.#recent) {
      if (this.#recent.size <= recentMax) break;
      this.#recent.delete(oldest);
    }
  }

  /** Writes the record. Errors: unavailable. */
  save(): void {
    const saved: Static<typeof Saved> = {
      ...{ rooms: Object.fromEntries(this.#rooms), returned: this.#returned, last: this.#last },
      ...{ recent: [...this.#recent], saved_ms: Date.now() },
    };
    try {
      replaceFile(this.#file, `${JSON.stringify(saved)}\n`);
    } catch (cause) {
      const hint = "check its permissions, and that the disk is not full";
      throw new UnibusError("unavailable", `${this.#file} cannot be written (${hint})`, { cause });
    }
  }

  [Symbol.dispose](): void {
    this.#lock.close();
  }

  #read(): Static<typeof Saved> {
    let saved: unknown;
    try {
      saved = JSON.parse(readFileSync(this.#file, "utf8"));
    } catch (error) {
      const isNew = (error as { code?: unknown }).code === "ENOENT";
      if (isNew) return { rooms: {}, returned: null, last: null, recent: [], saved_ms: Date.now() };
    }
    if (Check(Saved, saved)) return saved;
    const hint = "remove it, and wait begins with the oldest messages again; with --new it begins now";
    throw new UnibusError("invalid", `${this.#file} is damaged (${hint})`);
  }
}
