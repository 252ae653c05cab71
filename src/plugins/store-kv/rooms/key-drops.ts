import type { SealedKeyRecord } from "../../../contracts/store.ts";
import { noPages, PageGone, type PagesMade } from "./pages.ts";
import { chargedTo, type EpochKeys, type FiledKeys, type RoomBuckets, type RoomHead } from "./room-head.ts";

/** The keys removed from archived epochs, which takes effect at once, and the pages that are no longer referenced. */
export interface FiledDrops {
  readonly keys: SealedKeyRecord[];
  readonly erased: string[];
}

/** The keys that one step removed from the newest epoch, and the epoch to continue with, or null. */
export interface Drop {
  /** Their pages were rewritten, and take effect when the room head references them. */
  readonly keys: readonly SealedKeyRecord[];
  readonly epochKeys: EpochKeys | null;
  readonly made: PagesMade;
  readonly next: number | null;
}

/** The epoch to start with (null for the newest), and the most epochs to process. */
export interface DropRange {
  readonly from: number | null;
  readonly epochsMax: number;
}

/** Removes the keys of some endpoints from one epoch; null if there are none. Errors: PageGone. */
async function without(kv: RoomBuckets, entry: RoomHead, epoch: EpochKeys, isOut: (endpoint: string) => boolean) {
  const { roomId } = entry.room;
  const all = await kv.keys.all(roomId, epoch.pages);
  const out = all.filter(({ endpoint }) => isOut(endpoint));
  if (out.length === 0) return null;
  const kept = all.filter(({ endpoint }) => !isOut(endpoint));
  const written = kept.length === 0 ? noPages : await kv.keys.changed(roomId, [], kept);
  const keys = out.map((key) => ({
    ...{ endpoint: key.endpoint, sealedKey: key.sealedKey },
    ...{ epoch: epoch.epoch, chargedTo: chargedTo(key, epoch, entry) },
  }));
  return { keys, pages: written.pages, made: written.made, replaced: epoch.pages.map(({ id }) => id) };
}

/**
 * Removes the keys of users without an open stay from some epochs, newest first. The keys removed from archived epochs
 * are added to `filed`, even if a later step fails. Errors: PageGone.
 */
export async function dropFrom(
  kv: RoomBuckets,
  entry: RoomHead,
  { from, epochsMax }: DropRange,
  filed: FiledDrops,
): Promise<Drop> {
  const { roomId } = entry.room;
  const stays = await kv.stays.all(roomId, entry.stays);
  const isIn = new Set(stays.filter(({ until }) => until === 0).map(({ endpoint }) => endpoint));
  const isOut = (endpoint: string) => !isIn.has(endpoint);
  let newest: Omit<Drop, "next"> = { keys: [], epochKeys: entry.keys, made: noPages };
  if (isIn.size === stays.length || entry.keys === null) return { ...newest, next: null };
  let epoch = from;
  let steps = 0;
  if (epoch === null) {
    const found = await without(kv, entry, entry.keys, isOut);
    if (found !== null) {
      newest = { keys: found.keys, epochKeys: { ...entry.keys, pages: found.pages }, made: found };
    }
    epoch = entry.keys.older;
    steps += 1;
  }
  for (; epoch !== null && steps < epochsMax; steps++) epoch = await dropFiled(kv, entry, epoch, isOut, filed);
  return { ...newest, next: epoch };
}

/** Removes keys from an archived epoch. Returns the epoch before it. Errors: PageGone. */
async function dropFiled(
  kv: RoomBuckets,
  entry: RoomHead,
  epoch: number,
  isOut: (endpoint: string) => boolean,
  filed: FiledDrops,
): Promise<number | null> {
  const key = kv.epochKey(entry, epoch);
  const { value } = await kv.filedKeys.get(key);
  if (value === null) throw new PageGone(`keys of ${entry.room.roomId}`);
  const found = await without(kv, entry, value, isOut);
  if (found === null) return value.older;
  let isTaken = false;
  await kv.filedKeys.update(key, (known: FiledKeys | null) => {
    isTaken = JSON.stringify(known?.pages) === JSON.stringify(value.pages);
    return isTaken && known !== null ? { ...known, pages: found.pages } : known;
  });
  if (isTaken) filed.keys.push(...found.keys);
  filed.erased.push(...(isTaken ? found.replaced : found.made));
  return value.older;
}
