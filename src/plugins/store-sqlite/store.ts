import { inTime } from "../../contracts/deadline.ts";
import type { Health } from "../../contracts/plugin.ts";
import type { InviteStore, RoomStore, Snapshot, UserStore } from "../../contracts/store.ts";
import type { WayBackStore } from "../../contracts/way-back.ts";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";
import { type Database, type OpenOptions, openDatabase } from "./database.ts";
import { busyError, shownFault } from "./faults.ts";
import { createInvites } from "./invites.ts";
import { createRooms } from "./rooms.ts";
import { createSnapshot } from "./snapshot.ts";
import { createUsers } from "./users.ts";
import { createWayBack } from "./way-back.ts";

/** All interfaces of a store over one SQLite file. */
export interface SqliteStore {
  readonly rooms: RoomStore;
  readonly users: UserStore;
  readonly invites: InviteStore;
  readonly snapshot: Snapshot;
  readonly wayBack: WayBackStore;
  /** Checks that the store can read and, if its last commit failed, that it can write again. */
  health(): Promise<Health>;
  /** Commits waiting writes and closes the store. Idempotent. */
  close(): void;
}

/** How long a health check waits for the database, in milliseconds. */
const probeMs = 700;
const late = () => new UnibusError("unavailable", shownFault(busyError));

/** Creates the store over an open database. */
export function storeOver(database: Database): SqliteStore {
  const { native, read, write } = database;
  const readProbe = native.prepare<{ revision: number }, []>("SELECT revision FROM roster");
  const writeProbe = native.prepare<never, []>("UPDATE roster SET revision = revision");
  return {
    rooms: createRooms(database),
    users: createUsers(database),
    invites: createInvites(database),
    snapshot: createSnapshot(database),
    wayBack: createWayBack(database),
    async health() {
      try {
        await inTime(
          read(() => readProbe.get()),
          probeMs,
          late,
        );
        if (database.writeFault() === null) return { ok: true };
        // Tried again. One that waits for a lock goes on waiting, and what is known by now is the answer.
        await inTime(
          write(() => writeProbe.run()),
          probeMs,
          late,
        ).catch(() => undefined);
        const detail = database.writeFault();
        return detail === null ? { ok: true } : { ok: false, detail };
      } catch (error) {
        return { ok: false, ...(isUnibusError(error) && { detail: error.message }) };
      }
    },
    close: database.close,
  };
}

/**
 * Opens the store in a file, and creates the file if necessary. Several processes may have one file open; each sees the
 * commits of the others at once.
 * Errors: unavailable, with one sentence that names the file and the fix.
 */
export function openSqliteStore(options: OpenOptions): SqliteStore {
  return storeOver(openDatabase(options));
}
