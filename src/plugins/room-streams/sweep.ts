import type { Log } from "../../contracts/plugin.ts";
import type { RoomRecord, RoomStore } from "../../contracts/store.ts";
import type { RoomStreams } from "../../contracts/streams.ts";
import { every } from "../../lib/every.ts";
import { type ApiReply, type JetStream, jsCode } from "../../nats/jetstream.ts";
import { pages } from "../../nats/pages.ts";
import { isUlid, streamName } from "../../wire/names.ts";
import { expectReply } from "./errors.ts";
import type { StreamInfo } from "./stream-info.ts";

/** The interval of the sweep, in milliseconds. */
const sweepEveryMs = 60_000;
/** A younger stream without a row may belong to a room that is being created. In milliseconds. */
const orphanAgeMs = 60_000;
const pageSize = 1_000;

/** The dependencies of a sweep. */
export interface SweepDeps {
  readonly js: JetStream;
  readonly rooms: RoomStore;
  readonly streams: RoomStreams;
  readonly log: Log;
  readonly now: () => number;
  readonly signal: AbortSignal;
}

/** Lists the names of all room streams, page by page. */
export async function streamNames(js: JetStream): Promise<Set<string>> {
  const names = new Set<string>();
  type Page = ApiReply & { total: number; streams: string[] | null };
  const ask = async (offset: number) => expectReply(await js.call<Page>("STREAM.NAMES", { offset }));
  for await (const { streams } of pages(ask, (page) => page.streams?.length ?? 0)) {
    for (const name of streams ?? []) if (name.startsWith(streamName(""))) names.add(name);
  }
  return names;
}

/** Iterates over every room by id, including tombstones. */
export async function* roomPages(rooms: RoomStore): AsyncGenerator<RoomRecord> {
  for (let after: string | null = null; ; ) {
    const page: RoomRecord[] = await rooms.listRooms(after, pageSize);
    yield* page;
    const last = page.at(-1);
    if (last === undefined || page.length < pageSize) return;
    after = last.roomId;
  }
}

/**
 * Reconciles streams with rows: removes streams without a row, completes interrupted deletions, and creates missing
 * streams. It also settles the durables of rooms that a member left; the first sweep settles those of all rooms.
 */
export async function sweep({ js, rooms, streams, log, now, signal }: SweepDeps, isFirst = false): Promise<void> {
  const orphans = await streamNames(js);
  for await (const room of roomPages(rooms)) {
    if (signal.aborted) return;
    const hadStream = orphans.delete(streamName(room.roomId));
    if (room.deletedAt !== null) {
      if (hadStream) await streams.remove(room.roomId);
      // The subject is freed last: a tombstone that does not hold it has nothing left to purge.
      if ((await rooms.findRoomId(room.subject)) === room.roomId) await rooms.purgeRoom(room.roomId);
    } else if (room.policy.persist && !hadStream) {
      await streams.ensure(room);
    } else if (room.policy.persist && (isFirst || room.rekeyPending)) {
      // A revocation on the host, or by a node that crashed, leaves no other trace.
      streams.settle(room);
    }
  }
  for (const name of orphans) {
    if (signal.aborted) return;
    const roomId = name.slice(streamName("").length);
    const info = expectReply(await js.call<StreamInfo>(`STREAM.INFO.${name}`), jsCode.streamNotFound);
    if (info.error !== undefined || now() - Date.parse(info.created) < orphanAgeMs || !isUlid(roomId)) continue;
    // The rows were read after the list of streams: a room created since then has a row by now.
    if ((await rooms.getRoom(roomId)) !== null) continue;
    log.warn("removing a stream without a room", { stream: name });
    await streams.remove(roomId);
  }
}

/** Sweeps now, then periodically until the bus stops. A failed sweep is logged and retried. */
export function sweepEvery(parts: SweepDeps): void {
  let isFirst = true;
  const run = async (): Promise<void> => {
    await sweep(parts, isFirst);
    isFirst = false;
  };
  const onError = (cause: unknown) => parts.log.warn("stream sweep failed", { cause });
  every(run, { pauseMs: sweepEveryMs, signal: parts.signal, onError });
}
