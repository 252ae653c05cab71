/**
 * Restores a room by one replacement of its head. All parts of the new head are written first: pages under new names,
 * as in any change, and the archived statements and keys under a new archive name. The parts of the old head stay until
 * the new one is committed, so a crash or a lost race leaves the room unchanged.
 */
import { randomBytes } from "node:crypto";
import { keptStay } from "../../../contracts/stay-rules.ts";
import type { SealedKeyRecord, StatementRecord, StayRecord } from "../../../contracts/store.ts";
import { unacceptedQuota } from "../../../contracts/unaccepted.ts";
import type { RestorationOutcome, RoomRestoration } from "../../../contracts/way-back.ts";
import { sideBySide } from "../../../lib/side-by-side.ts";
import { untilMade } from "../bucket.ts";
import { PageGone } from "./pages.ts";
import { noteStay } from "./room-changes.ts";
import {
  type EpochKeys,
  type FiledRoom,
  fileOf,
  isLeaving,
  type RoomBuckets,
  type RoomHead,
  revisionOf,
  sealedKeys,
  stayKey,
} from "./room-head.ts";
import { allKeys } from "./room-import.ts";
import type { RoomIndex } from "./room-index.ts";
import { claimFor, isLiveBy, type RoomMakingDeps, reserve } from "./room-making.ts";

/** A new room head whose parts are written, the pages made for it, and the pages that it no longer references. */
interface Prepared {
  readonly entry: RoomHead;
  readonly made: { readonly stays: readonly string[]; readonly keys: readonly string[] };
  readonly replaced: { readonly stays: readonly string[]; readonly keys: readonly string[] };
  readonly before: readonly StayRecord[];
}

const idsOf = (pages: RoomHead["stays"] = []): string[] => pages.map(({ id }) => id);
const isOpen = ({ until }: StayRecord): boolean => until === 0;

/** Implements `WayBackStore.restoreRoom`. */
export class RoomRestoring {
  readonly #kv: RoomBuckets;
  readonly #index: RoomIndex;

  constructor(private readonly deps: RoomMakingDeps) {
    this.#kv = deps.kv;
    this.#index = deps.index;
  }

  restoreRoom(restoration: RoomRestoration, liveMax = Number.POSITIVE_INFINITY): Promise<RestorationOutcome> {
    return restoration.expected === null ? this.#create(restoration, liveMax) : this.#replace(restoration);
  }

  async #create(restoration: RoomRestoration, liveMax: number): Promise<RestorationOutcome> {
    const { room } = restoration;
    const { roomId, subject, creator } = room;
    if ((await this.#kv.entries.get(roomId)).value !== null) return "overtaken";
    if (!(await reserve(this.deps, room, liveMax))) return "too_many_rooms";
    const claimed = await claimFor(this.deps, room);
    const prepared = await this.#prepare(null, 0, restoration);
    if ((await this.#kv.entries.create(roomId, prepared.entry)) !== null) {
      await this.#index.noteCreated(creator, roomId).catch(() => undefined);
      return "restored";
    }
    await this.#erase(roomId, prepared.made);
    const winner = (await this.#kv.find(roomId))?.entry.room;
    if (claimed !== null && winner?.subject !== subject) await this.#kv.claims.remove(subject, claimed);
    if (!(await isLiveBy(this.#kv, roomId, creator))) await this.#index.dropCreated(creator, roomId);
    return "overtaken";
  }

  async #replace(restoration: RoomRestoration): Promise<RestorationOutcome> {
    const { room, expected } = restoration;
    const { roomId } = room;
    const attempt = async (): Promise<{ readonly result: Prepared | null } | null> => {
      const found = await this.#kv.find(roomId);
      const { version, statementHash, deletedAt } = found?.entry.room ?? {};
      const isExpected = version === expected?.version && statementHash === expected?.hash && deletedAt === null;
      if (found === null || !isExpected) return { result: null };
      const held = found.entry.room;
      if (room.subject !== held.subject) await claimFor(this.deps, room);
      let prepared: Prepared;
      try {
        prepared = await this.#prepare(found.entry, found.revision, restoration);
      } catch (error) {
        if (error instanceof PageGone) return null;
        throw error;
      }
      if ((await this.#kv.entries.replace(roomId, prepared.entry, found.revision)) !== null) {
        await this.#eraseStatements(found.entry);
        await this.#release(held, room);
        return { result: prepared };
      }
      await this.#erase(roomId, prepared.made);
      await this.#eraseStatements(prepared.entry);
      return null;
    };
    const done = await untilMade(attempt);
    if (done === null) return "overtaken";
    await this.#erase(roomId, done.replaced);
    const isIn = new Set(restoration.stays.filter(isOpen).map(({ endpoint }) => endpoint));
    const out = done.before.filter((stay) => isOpen(stay) && !isIn.has(stay.endpoint));
    // If an index entry remains, its readers see in the room head that it is stale.
    await sideBySide(out, ({ endpoint }) => this.#index.exit(endpoint, roomId, room.version).catch(() => undefined));
    return "restored";
  }

  /** Releases what a replaced room with the same id held: its subject, and its place in its creator's index entry. */
  async #release(held: RoomHead["room"], room: RoomHead["room"]): Promise<void> {
    const { roomId, subject, creator } = held;
    if (subject !== room.subject) {
      const { value, revision } = await this.#kv.claims.get(subject);
      if (value?.roomId === roomId) await this.#kv.claims.remove(subject, revision).catch(() => undefined);
    }
    if (creator === room.creator) return;
    await this.#index.dropCreated(creator, roomId).catch(() => undefined);
    await this.#index.noteCreated(room.creator, roomId).catch(() => undefined);
  }

  /** Writes all parts of the room's next head, but not the head itself. Errors: PageGone. */
  async #prepare(old: RoomHead | null, headRevision: number, restoration: RoomRestoration): Promise<Prepared> {
    const { rekeyPending: _, ...given } = restoration.room;
    const { roomId } = given;
    const filed: FiledRoom = { room: given, files: randomBytes(12).toString("base64url") };
    const before = old === null ? [] : await this.#kv.stays.all(roomId, old.stays);
    const kept = restoration.base.version === 0 ? [] : before;
    const known = new Map(kept.map((stay) => [stayKey(stay), stay]));
    const stays = restoration.stays.map((stay) => keptStay(known.get(stayKey(stay)), stay));
    const refused: string[] = [];
    const [stayPages, keys, statement] = await Promise.all([
      this.#kv.stays.changed(roomId, [], stays),
      this.#keys(old, filed, headRevision, restoration),
      this.#statements(old, filed, restoration),
      sideBySide(stays.filter(isOpen), async (stay) => {
        const limits = known.has(stayKey(stay)) ? {} : restoration;
        if (!(await noteStay(this.deps, { room: restoration.room, stay }, limits))) refused.push(stay.endpoint);
      }),
    ]);
    if (refused[0] !== undefined) {
      await this.#erase(roomId, { stays: stayPages.made, keys: keys.made });
      await this.#eraseStatements(filed);
      throw unacceptedQuota(refused[0]);
    }
    const leaving = stays.filter(isLeaving).length;
    const revision = old === null ? given.revision : revisionOf(old) + 1;
    // Its charges are counted from its rows a moment later.
    const { charges: __, ...uncharged } = old ?? {};
    const deps = { statement, stays: stayPages.pages, keys: keys.newest, leaving };
    return {
      entry: { ...uncharged, room: { ...given, revision }, ...deps, files: filed.files as string },
      made: { stays: stayPages.made, keys: keys.made },
      replaced: { stays: idsOf(old?.stays), keys: keys.replaced },
      before,
    };
  }

  /** Archives the keys of every epoch except the newest that has any, which it returns. Errors: PageGone. */
  async #keys(old: RoomHead | null, filed: FiledRoom, revision: number, { base, keys }: RoomRestoration) {
    const { roomId } = filed.room;
    const known = old === null ? [] : await allKeys(this.#kv, old);
    const kept = new Map(known.filter(({ epoch }) => epoch <= base.epoch).map((one) => [one.epoch, one]));
    const added = Map.groupBy(keys, ({ epoch }: SealedKeyRecord) => epoch);
    const made: string[] = [];
    const replaced = known.filter(({ epoch }) => epoch > base.epoch).flatMap(({ pages }) => idsOf(pages));
    let newest = null as EpochKeys | null;
    for (const epoch of [...new Set([...kept.keys(), ...added.keys()])].sort((a, b) => a - b)) {
      const before = kept.get(epoch);
      let pages = before?.pages ?? [];
      const more = added.get(epoch) ?? [];
      const { sealed, by } = sealedKeys(more, before === undefined ? more[0]?.chargedTo : before.by);
      if (more.length > 0) {
        const changed = await this.#kv.keys.changed(roomId, pages, sealed, (one, other) => one ?? other);
        made.push(...changed.made);
        replaced.push(...changed.replaced);
        pages = changed.pages;
      }
      if (newest !== null) {
        await this.#kv.filedKeys.put(this.#kv.epochKey(filed, newest.epoch), { ...newest, asOf: revision });
      }
      newest = { epoch, pages, older: newest?.epoch ?? null, ...by };
    }
    return { newest, made, replaced };
  }

  /** Archives every statement except the newest, which it returns. Errors: PageGone. */
  async #statements(
    old: RoomHead | null,
    filed: FiledRoom,
    { base, statements }: RoomRestoration,
  ): Promise<StatementRecord | null> {
    const last = statements.at(-1)?.version ?? base.version;
    const added = Map.groupBy(statements, ({ version }) => fileOf(version));
    const files = Array.from({ length: fileOf(last) + 1 }, (_, file) => file);
    let newest = null as StatementRecord | null;
    await sideBySide(files, async (file) => {
      const kept = old === null || fileOf(base.version) < file ? [] : await this.#filed(old, file, base.version);
      const all = [...kept, ...(added.get(file) ?? [])];
      newest = all.find(({ version }) => version === last) ?? newest;
      const earlier = all.filter(({ version }) => version < last);
      if (earlier.length > 0) await this.#kv.statements.put(this.#kv.statementsKey(filed, file), earlier);
    });
    return newest;
  }

  /** Reads the statements of one archive entry up to a version. Errors: PageGone if one is missing. */
  async #filed(old: RoomHead, file: number, upTo: number): Promise<StatementRecord[]> {
    const found = (await this.#kv.statements.get(this.#kv.statementsKey(old, file))).value ?? [];
    const newest = old.statement;
    const all = found.filter(({ version }) => version !== newest?.version && version <= upTo);
    if (newest !== null && fileOf(newest.version) === file && newest.version <= upTo) all.push(newest);
    const versions = new Set(all.map(({ version }) => version));
    for (let version = 1; version <= upTo; version++) {
      if (fileOf(version) === file && !versions.has(version)) throw new PageGone(`statements of ${old.room.roomId}`);
    }
    return all.sort((a, b) => a.version - b.version);
  }

  async #erase(roomId: string, { stays, keys }: Prepared["made"]): Promise<void> {
    await Promise.all([this.#kv.stays.erase(roomId, stays), this.#kv.keys.erase(roomId, keys)]);
  }

  /** Deletes the archived statements of a head that is no longer current. Any that remain are harmless. */
  async #eraseStatements(room: FiledRoom): Promise<void> {
    await this.#kv.statements.erase(this.#kv.everyFile(room)).catch(() => undefined);
  }
}
