import { existsSync, renameSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import type {
  InviteRecord,
  Snapshot,
  SnapshotRoom,
  SnapshotRow,
  UserRecord,
  UserStore,
} from "../../contracts/store.ts";
import { sideBySide } from "../../lib/side-by-side.ts";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";
import { type InviteBuckets, putInvites } from "./invites.ts";
import type { RoomBuckets } from "./rooms/room-head.ts";
import { putRoom, type WholeRoom, wholeRoom } from "./rooms/room-import.ts";
import type { RoomIndex } from "./rooms/room-index.ts";
import { putRoster, putUsers, type UserBuckets } from "./users.ts";

/** How many users or invites are read or written at once. */
const batchSize = 500;

/** The dependencies of a snapshot. */
export interface SnapshotDeps {
  readonly kv: RoomBuckets;
  readonly index: RoomIndex;
  readonly users: UserStore;
  readonly userKv: UserBuckets;
  readonly inviteKv: InviteBuckets;
}

async function* allUsers(users: UserStore): AsyncGenerator<UserRecord> {
  for (let after: string | null = null; ; ) {
    const page: UserRecord[] = await users.listUsers(after, batchSize);
    yield* page;
    const last = page.at(-1);
    if (last === undefined || page.length < batchSize) return;
    after = last.signPub;
  }
}

async function* allInvites({ invites }: InviteBuckets): AsyncGenerator<InviteRecord> {
  const ids = await invites.keys("*");
  while (ids.length > 0) {
    const some = await sideBySide(ids.splice(0, batchSize), (id) => invites.get(id));
    for (const { value } of some) if (value !== null) yield value;
  }
}

async function* rowsOf({ kv, users, inviteKv }: SnapshotDeps): AsyncGenerator<SnapshotRow> {
  for await (const user of allUsers(users)) yield { kind: "user", user: { ...user, revision: 0 } };
  for await (const invite of allInvites(inviteKv)) yield { kind: "invite", invite };
  for (const roomId of await kv.entries.keys("*")) {
    const whole = await wholeRoom(kv, roomId);
    if (whole === null) continue;
    const { revision: _, ...room } = whole.room;
    yield { kind: "room", room };
    for (const stay of whole.stays) yield { kind: "stay", roomId, stay };
    for (const key of whole.keys) yield { kind: "key", roomId, key };
    for (const statement of whole.statements) yield { kind: "statement", roomId, statement };
  }
}

type Incoming = WholeRoom<SnapshotRoom>;
type Gathered = { -readonly [K in keyof Incoming]: Incoming[K] extends readonly (infer T)[] ? T[] : Incoming[K] };

/** An import in progress: users and invites are written in batches, and a room once all its rows have arrived. */
class Import {
  readonly #deps: SnapshotDeps;
  readonly #users = new Map<string, UserRecord>();
  readonly #invites = new Map<string, InviteRecord>();
  #room: Gathered | null = null;

  constructor(parts: SnapshotDeps) {
    this.#deps = parts;
  }

  async take(row: SnapshotRow): Promise<void> {
    if (row.kind === "user") {
      this.#users.set(row.user.signPub, row.user);
      if (this.#users.size >= batchSize) await this.flush();
    } else if (row.kind === "invite") {
      this.#invites.set(row.invite.id, row.invite);
      if (this.#invites.size >= batchSize) await this.flush();
    } else if (row.kind === "room") {
      await this.flush();
      this.#room = { room: row.room, stays: [], keys: [], statements: [] };
    } else this.#takePart(row);
  }

  #takePart(row: Extract<SnapshotRow, { readonly roomId: string }>): void {
    const room = this.#room;
    if (room?.room.roomId !== row.roomId) {
      throw new UnibusError(
        "invalid",
        `a ${row.kind} row of room ${row.roomId} does not follow its room row (sort the rows)`,
      );
    }
    if (row.kind === "stay") room.stays.push(row.stay);
    else if (row.kind === "key") room.keys.push(row.key);
    else room.statements.push(row.statement);
  }

  /** Writes all buffered rows. */
  async flush(): Promise<void> {
    const { kv, index, userKv, inviteKv } = this.#deps;
    await putUsers(userKv, [...this.#users.values()]);
    await putInvites(inviteKv, [...this.#invites.values()]);
    if (this.#room !== null) await putRoom(kv, index, this.#room);
    this.#users.clear();
    this.#invites.clear();
    this.#room = null;
  }
}

async function writeLines(file: string, rows: AsyncIterable<SnapshotRow>): Promise<void> {
  const handle = await open(file, "wx", 0o600);
  try {
    for await (const row of rows) await handle.write(`${JSON.stringify(row)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Implements the snapshot of the buckets. Each room of an export is consistent; different rooms may be from different
 * moments.
 * A backup is the export as JSON, one row per line.
 */
export function createSnapshot(parts: SnapshotDeps): Snapshot {
  return {
    exportAll: () => rowsOf(parts),
    async importAll(rows) {
      const incoming = new Import(parts);
      for await (const row of rows) await incoming.take(row);
      await incoming.flush();
      const admins: string[] = [];
      for await (const { signPub, role, status } of allUsers(parts.users)) {
        if (role === "admin" && status === "active") admins.push(signPub);
      }
      await putRoster(parts.userKv, admins);
    },
    async backup(file) {
      if (existsSync(file)) throw new UnibusError("conflict", `${file} already exists (choose another file)`);
      const part = `${file}.${crypto.randomUUID()}.part`;
      try {
        await writeLines(part, rowsOf(parts));
        renameSync(part, file);
      } catch (error) {
        if (isUnibusError(error)) throw error;
        throw new UnibusError("unavailable", `cannot write ${file} (choose a writable folder with free space)`, {
          cause: error,
        });
      } finally {
        rmSync(part, { force: true });
      }
    },
  };
}
