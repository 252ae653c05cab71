/**
 * The storage format of a room, and the buckets that hold it. One entry per room, the room head, holds its current
 * state and references its parts: immutable pages of stays and of sealed keys, and archives of older statements and of
 * the keys of earlier epochs.
 * Invariant: replacing the room head by compare-and-set is the commit of every change. What a head references never
 * changes, so a reader of one head sees a consistent room; a part that no head references does not exist for readers.
 * Every file about rooms in this folder uses it.
 */
import type { RoomRecord, SealedKeyRecord, StatementRecord, StayRecord } from "../../../contracts/store.ts";
import { sideBySide } from "../../../lib/side-by-side.ts";
import type { JetStream } from "../../../nats/jetstream.ts";
import { buckets } from "../../../wire/names.ts";
import { Bucket, tooBusy } from "../bucket.ts";
import type { LinearizableReads } from "../entry.ts";
import { PageGone, type PageRef, Pages } from "./pages.ts";
import type { UnacceptedStay } from "./room-index.ts";

/** How often a reader starts over because the room changed while it read. */
const readsMax = 50;
/** The number of statements in one archive entry. */
const statementsFiled = 16;

/** The sealed keys of one epoch. */
export interface EpochKeys {
  readonly epoch: number;
  readonly pages: readonly PageRef[];
  /** The previous epoch that has keys, or null. */
  readonly older: number | null;
  /** The payer of the keys that do not name their own. Absent in data from before rows were charged. */
  readonly by?: string;
}

/** A room as its head holds it. `revision` is absent in rooms that have not changed since before it was counted. */
export type KeptRoom = Omit<RoomRecord, "rekeyPending" | "revision"> & Partial<Pick<RoomRecord, "revision">>;

/**
 * The room head: the single entry that holds a room. Replacing it is the commit of every change. Parts that it
 * references never change; parts that it does not reference do not exist.
 */
export interface RoomHead {
  readonly room: KeptRoom;
  /** The newest statement. Earlier ones were archived before it was committed. */
  readonly statement: StatementRecord | null;
  readonly stays: readonly PageRef[];
  /** The keys of the newest epoch that has any. Those of earlier epochs were archived before. */
  readonly keys: EpochKeys | null;
  /** The number of open stays that are marked left. */
  readonly leaving: number;
  /**
   * The archive name of earlier statements and of the keys of earlier epochs. A restoration archives all of them under
   * a new name before it commits, so that a reader of the old head still finds the old ones. If absent, the room id
   * alone is the name.
   */
  readonly files?: string;
  /**
   * The cost of the room's rows, by payer. Absent until it is counted: for rooms from before 0.2.0, and after a
   * restoration.
   */
  readonly charges?: Readonly<Record<string, number>>;
}

/** The part of a room head that determines the archive keys. */
export type FiledRoom = Pick<RoomHead, "files"> & { readonly room: Pick<RoomRecord, "roomId"> };

/**
 * A placeholder for a room that was never created and never will be: its creation took too long, and its subject was
 * given to another room.
 */
export interface NoRoom {
  readonly room: null;
}

/** The claim of a subject, written before the room head. */
export interface Claim {
  readonly roomId: string;
}

/** The archived keys of an epoch, as of a revision of the room head. */
export interface FiledKeys extends EpochKeys {
  readonly asOf: number;
}

/** The sort key of a stay: by endpoint, then since. */
export function stayKey({ endpoint, since }: Pick<StayRecord, "endpoint" | "since">): string {
  return `${endpoint} ${String(since).padStart(10, "0")}`;
}

/** A sort key after every stay of an endpoint. */
function afterStays(endpoint: string): string {
  return stayKey({ endpoint, since: 9_999_999_999 });
}

/** The revision of a room. */
export function revisionOf({ room }: Pick<RoomHead, "room">): number {
  return room.revision ?? room.version;
}

/** The room record of a room head. */
export function recordOf(head: RoomHead): RoomRecord {
  return { ...head.room, revision: revisionOf(head), rekeyPending: head.leaving > 0 };
}

/** Reports whether a stay is open but marked left, so that an owner still has to sign the member out. */
export function isLeaving({ until, leftAt }: StayRecord): boolean {
  return until === 0 && leftAt !== null;
}

/** The index entry of an unaccepted stay. */
export function unacceptedStay({ endpoint, addedBy }: StayRecord, roomId: string, version: number): UnacceptedStay {
  return { endpoint, roomId, version, adder: addedBy ?? "" };
}

/** Fills in fields of a stay from before 0.2.0, when stays needed no acceptance and the adder was not recorded. */
function wholeStay(kept: StayRecord): StayRecord {
  const { acceptedAt = 0, addedBy = null } = kept as Partial<StayRecord>;
  return { ...kept, acceptedAt, addedBy };
}

/** The number of the archive entry that holds a version's statement. */
export function fileOf(version: number): number {
  return Math.floor((version - 1) / statementsFiled);
}

function filesOf({ room, files }: FiledRoom): string {
  return files === undefined ? room.roomId : `${room.roomId}.${files}`;
}

/** A sealed key as stored in a page. `by` is its payer, if it is not the payer of the epoch. */
export interface SealedKey {
  readonly endpoint: string;
  readonly sealedKey: string;
  readonly by?: string;
}

/** The payer of a sealed key; the room's creator if none was recorded. */
export function chargedTo({ by }: SealedKey, epoch: EpochKeys, { room }: Pick<RoomHead, "room">): string {
  return by ?? epoch.by ?? room.creator;
}

/** Converts the keys of one epoch to their stored form, and returns the payer that they share. */
export function sealedKeys(keys: readonly SealedKeyRecord[], by = keys[0]?.chargedTo) {
  const sealed = keys.map(({ endpoint, sealedKey, chargedTo: payer }): SealedKey => {
    return payer === by ? { endpoint, sealedKey } : { endpoint, sealedKey, by: payer };
  });
  return { sealed, by: by === undefined ? {} : { by } };
}

/** The buckets of the rooms. */
export class RoomBuckets {
  readonly entries: Bucket<RoomHead | NoRoom>;
  readonly claims: Bucket<Claim>;
  readonly statements: Bucket<readonly StatementRecord[]>;
  readonly stays: Pages<StayRecord>;
  readonly keys: Pages<SealedKey>;
  readonly filedKeys: Bucket<FiledKeys>;
  readonly stayPages: Bucket<readonly StayRecord[]>;
  readonly keyPages: Bucket<readonly SealedKey[]>;

  constructor(js: JetStream, linearizable: LinearizableReads) {
    this.entries = new Bucket(js, buckets.rooms, { linearizable });
    this.claims = new Bucket(js, buckets.rooms, { prefix: "subject." });
    this.statements = new Bucket(js, buckets.rooms, { prefix: "statement." });
    this.stayPages = new Bucket(js, buckets.members);
    this.stays = new Pages(this.stayPages, stayKey, wholeStay);
    this.keyPages = new Bucket(js, buckets.roomKeys);
    this.keys = new Pages(this.keyPages, ({ endpoint }) => endpoint);
    this.filedKeys = new Bucket(js, buckets.roomKeys);
  }

  /** Reads a room's head and its revision; null if there is none. */
  async find(roomId: string): Promise<{ readonly entry: RoomHead; readonly revision: number } | null> {
    const { value, revision } = await this.entries.get(roomId);
    return value === null || value.room === null ? null : { entry: value, revision };
  }

  /**
   * Reads parts of a room in one consistent state; retries if the room changes during the read. Returns null if there
   * is no such room.
   * Errors: unavailable, also if a part is permanently missing.
   */
  async reading<R>(roomId: string, read: (entry: RoomHead, revision: number) => Promise<R>): Promise<R | null> {
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

  /** Reads the open stay of an endpoint. Errors: PageGone. */
  async openStay({ room, stays }: RoomHead, endpoint: string): Promise<StayRecord | null> {
    const page = await this.stays.around(room.roomId, stays, afterStays(endpoint));
    return page.find((stay) => stay.endpoint === endpoint && stay.until === 0) ?? null;
  }

  /** The archive key of an epoch's keys. */
  epochKey(filed: FiledRoom, epoch: number): string {
    return `${filesOf(filed)}.epoch-${epoch}`;
  }

  /** The archive key of a group of statements. */
  statementsKey(filed: FiledRoom, file: number): string {
    return `${filesOf(filed)}.${file}`;
  }

  /** A pattern that matches every archived statement entry of a room. */
  everyFile(filed: FiledRoom): string {
    return `${filesOf(filed)}.*`;
  }

  /** Archives the keys of an epoch, unless they are archived already as of the same or a later revision. */
  async fileKeys(room: FiledRoom, filed: FiledKeys): Promise<void> {
    const key = this.epochKey(room, filed.epoch);
    await this.filedKeys.update(key, (known) => (known !== null && known.asOf >= filed.asOf ? known : filed));
  }

  /** Archives a committed statement. */
  async fileStatement(room: FiledRoom, statement: StatementRecord): Promise<void> {
    await this.statements.update(this.statementsKey(room, fileOf(statement.version)), (known) => {
      const filed = known ?? [];
      return filed.some(({ version }) => version === statement.version) ? known : [...filed, statement];
    });
  }

  /** Reads at most `limit` statements from a version on, ascending. Errors: PageGone. */
  async statementsOf(entry: RoomHead, from: number, limit: number): Promise<StatementRecord[]> {
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
