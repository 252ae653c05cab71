import type { RoomRecord, SealedKeyRecord, StatementRecord, StayRecord } from "../../contracts/store.ts";
import { buckets } from "../../wire/names.ts";
import { Bucket, tooBusy } from "./bucket.ts";
import { type Calls, sideBySide } from "./calls.ts";
import type { CertainReads } from "./certain-reads.ts";
import { PageGone, type PageRef, Pages } from "./pages.ts";
import type { UnacceptedStay } from "./room-index.ts";

/** How often a reader begins anew because the room changed under it. */
const readsMax = 50;
/** Statements filed together. */
const statementsFiled = 16;

/** The sealed keys of one epoch. */
export interface EpochKeys {
  readonly epoch: number;
  readonly pages: readonly PageRef[];
  /** The newest epoch before it that has keys. */
  readonly older: number | null;
  /** Who is charged for those that say nothing else. Absent where rows were not charged yet. */
  readonly by?: string;
}

/**
 * A room as its one entry holds it: replacing that entry is the commit of every change. What it names does not change;
 * what it does not name is not there.
 */
export interface RoomEntry {
  readonly room: Omit<RoomRecord, "rekeyPending">;
  /** The newest statement. Those before it were filed before it was taken. */
  readonly statement: StatementRecord | null;
  readonly stays: readonly PageRef[];
  /** The keys of the newest epoch that has any. Those of earlier ones were filed before. */
  readonly keys: EpochKeys | null;
  /** Open stays that were marked left. */
  readonly leaving: number;
  /** Owners who are in. */
  readonly owners: number;
  /**
   * The name under which earlier statements and the keys of earlier epochs are filed. A restoration files all of them
   * under a new name before it commits, so that a reader of the old entry still finds the old ones. Absent: none.
   */
  readonly files?: string;
  /** What its rows cost, by payer. Absent where that is to be counted: before 0.2.0, and after a restoration. */
  readonly charges?: Readonly<Record<string, number>>;
}

/** What of a room says where its parts are filed. */
export type FiledRoom = Pick<RoomEntry, "files"> & { readonly room: Pick<RoomRecord, "roomId"> };

/** What stands for a room that was never made, and never will be: its place was given to another. */
export interface NoRoom {
  readonly room: null;
}

/** A subject's claim, made before the room's entry. */
export interface Claim {
  readonly roomId: string;
}

/** The keys of an epoch, as of a revision of the room's entry. */
export interface FiledKeys extends EpochKeys {
  readonly asOf: number;
}

/** Where a stay is sorted: by endpoint, then since. */
export function stayKey({ endpoint, since }: Pick<StayRecord, "endpoint" | "since">): string {
  return `${endpoint} ${String(since).padStart(10, "0")}`;
}

/** The place behind every stay of an endpoint. */
export function afterStays(endpoint: string): string {
  return stayKey({ endpoint, since: 9_999_999_999 });
}

/** The record of an entry. */
export function recordOf({ room, leaving }: RoomEntry): RoomRecord {
  return { ...room, rekeyPending: leaving > 0 };
}

/** Whether a stay is open and was marked left. */
export function isLeaving({ until, leftAt }: StayRecord): boolean {
  return until === 0 && leftAt !== null;
}

/** What the index notes of a stay that is not accepted. */
export function unacceptedStay({ endpoint, addedBy }: StayRecord, roomId: string, version: number): UnacceptedStay {
  return { endpoint, roomId, version, adder: addedBy ?? "" };
}

/** A stay as it is kept: before 0.2.0 nobody had to accept one, and nobody noted who added whom. */
function wholeStay(kept: StayRecord): StayRecord {
  const { acceptedAt = 0, addedBy = null } = kept as Partial<StayRecord>;
  return { ...kept, acceptedAt, addedBy };
}

/** Where statements of a version are filed. */
export function fileOf(version: number): number {
  return Math.floor((version - 1) / statementsFiled);
}

function filesOf({ room, files }: FiledRoom): string {
  return files === undefined ? room.roomId : `${room.roomId}.${files}`;
}

/** A sealed key as a page holds it. `by`: who is charged for it, where that is not whom its epoch names. */
export interface SealedKey {
  readonly endpoint: string;
  readonly sealedKey: string;
  readonly by?: string;
}

/** Who is charged for a sealed key; the room's creator where nobody was noted. */
export function chargedTo({ by }: SealedKey, epoch: EpochKeys, { room }: Pick<RoomEntry, "room">): string {
  return by ?? epoch.by ?? room.creator;
}

/** Keys of one epoch as pages hold them, and who is charged for those that say nothing. */
export function sealedKeys(keys: readonly SealedKeyRecord[], by = keys[0]?.chargedTo) {
  const sealed = keys.map(({ endpoint, sealedKey, chargedTo: payer }): SealedKey => {
    return payer === by ? { endpoint, sealedKey } : { endpoint, sealedKey, by: payer };
  });
  return { sealed, by: by === undefined ? {} : { by } };
}

/** The rooms' part of the buckets. */
export class RoomBuckets {
  readonly entries: Bucket<RoomEntry | NoRoom>;
  readonly claims: Bucket<Claim>;
  readonly statements: Bucket<readonly StatementRecord[]>;
  readonly stays: Pages<StayRecord>;
  readonly keys: Pages<SealedKey>;
  readonly filedKeys: Bucket<FiledKeys>;
  readonly stayPages: Bucket<readonly StayRecord[]>;
  readonly keyPages: Bucket<readonly SealedKey[]>;

  constructor(calls: Calls, reads: CertainReads) {
    this.entries = new Bucket(calls, buckets.rooms, { reads });
    this.claims = new Bucket(calls, buckets.rooms, { prefix: "subject." });
    this.statements = new Bucket(calls, buckets.rooms, { prefix: "statement." });
    this.stayPages = new Bucket(calls, buckets.members);
    this.stays = new Pages(this.stayPages, stayKey, wholeStay);
    this.keyPages = new Bucket(calls, buckets.roomKeys);
    this.keys = new Pages(this.keyPages, ({ endpoint }) => endpoint);
    this.filedKeys = new Bucket(calls, buckets.roomKeys);
  }

  /** A room's entry and its revision, or null for none. */
  async find(roomId: string): Promise<{ readonly entry: RoomEntry; readonly revision: number } | null> {
    const { value, revision } = await this.entries.get(roomId);
    return value === null || value.room === null ? null : { entry: value, revision };
  }

  /**
   * Reads parts of a room in one state of it. Gives null where there is no room.
   * Errors: unavailable, also where a part is missing for good.
   */
  async reading<R>(roomId: string, read: (entry: RoomEntry, revision: number) => Promise<R>): Promise<R | null> {
    for (let reads = 0; reads < readsMax; reads++) {
      const found = await this.find(roomId);
      if (found === null) return null;
      try {
        return await read(found.entry, found.revision);
      } catch (error) {
        if (!(error instanceof PageGone)) throw error;
      }
    }
    throw tooBusy();
  }

  /** The open stay of an endpoint. Errors: PageGone. */
  async openStay({ room, stays }: RoomEntry, endpoint: string): Promise<StayRecord | null> {
    const page = await this.stays.around(room.roomId, stays, afterStays(endpoint));
    return page.find((stay) => stay.endpoint === endpoint && stay.until === 0) ?? null;
  }

  /** Where the keys of an epoch are filed. */
  epochKey(filed: FiledRoom, epoch: number): string {
    return `${filesOf(filed)}.epoch-${epoch}`;
  }

  /** Where a file of statements is. */
  statementsKey(filed: FiledRoom, file: number): string {
    return `${filesOf(filed)}.${file}`;
  }

  /** A pattern for every file of statements of a room. */
  everyFile(filed: FiledRoom): string {
    return `${filesOf(filed)}.*`;
  }

  /** Files the keys of an epoch. One that was filed of a later revision stays. */
  async fileKeys(room: FiledRoom, filed: FiledKeys): Promise<void> {
    const key = this.epochKey(room, filed.epoch);
    await this.filedKeys.update(key, (known) => (known !== null && known.asOf >= filed.asOf ? known : filed));
  }

  /** Files a statement that was taken. */
  async fileStatement(room: FiledRoom, statement: StatementRecord): Promise<void> {
    await this.statements.update(this.statementsKey(room, fileOf(statement.version)), (known) => {
      const filed = known ?? [];
      return filed.some(({ version }) => version === statement.version) ? known : [...filed, statement];
    });
  }

  /** Statements from a version on, ascending, at most `limit`. Errors: PageGone. */
  async statementsOf(entry: RoomEntry, from: number, limit: number): Promise<StatementRecord[]> {
    const { room, statement } = entry;
    const first = Math.max(1, from);
    if (statement === null || first > room.version) return [];
    const last = Math.min(room.version, first + limit - 1);
    const lastFiled = Math.min(last, statement.version - 1);
    const count = lastFiled < first ? 0 : fileOf(lastFiled) - fileOf(first) + 1;
    const files = Array.from({ length: count }, (_, index) => this.statementsKey(entry, fileOf(first) + index));
    const filed = await sideBySide(files, async (file) => (await this.statements.get(file)).value ?? []);
    const found = filed.flat().filter(({ version }) => version >= first && version <= lastFiled);
    if (last === statement.version) found.push(statement);
    if (found.length !== Math.max(0, last - first + 1)) throw new PageGone(`statements of ${room.roomId}`);
    return found.sort((a, b) => a.version - b.version);
  }
}
