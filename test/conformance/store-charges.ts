/**
 * Conformance cases for row charges: the bytes that each payer is charged always equal the sum over the stored rows,
 * after races, imports, purges and dropped keys. Used by `storeConformance` and the key-value store's own tests.
 */
import { describe, expect, test } from "bun:test";
import { addedCharges, chargesOf, rowBytes } from "../../src/contracts/rows.ts";
import { leaving } from "../../src/contracts/stay-rules.ts";
import type { SealedKeyRecord, StatementRecord, StayRecord } from "../../src/contracts/store.ts";
import type { OpenStore, StoreUnderTest } from "./store.ts";
import {
  callers,
  change,
  changeOf,
  epochMs,
  keySample,
  peer,
  reviseStay,
  roomIdSample,
  roomSample,
  sealedSample,
  statementSample,
  staySample,
  upTo,
  winners,
  withStore,
} from "./store-samples.ts";

const roomId = roomIdSample(1);
/** More epochs than any store handles in one step. */
const epochsMany = 70;

/** The expected charge of every payer, computed from the exported rows. */
export async function expectedCharges({ snapshot }: Pick<StoreUnderTest, "snapshot">): Promise<Map<string, number>> {
  type Parts = { creator: string; stays: StayRecord[]; keys: SealedKeyRecord[]; statements: StatementRecord[] };
  const rooms: Parts[] = [];
  for await (const row of snapshot.exportAll()) {
    if (row.kind === "room") rooms.push({ creator: row.room.creator, stays: [], keys: [], statements: [] });
    const parts = rooms.at(-1);
    if (row.kind === "stay") parts?.stays.push(row.stay);
    else if (row.kind === "key") parts?.keys.push(row.key);
    else if (row.kind === "statement") parts?.statements.push(row.statement);
  }
  const all = rooms.map((parts) => chargesOf({ ...parts, room: parts }));
  return all.reduce((sum, one) => addedCharges(sum, one), new Map<string, number>());
}

async function expectCharged(store: StoreUnderTest): Promise<void> {
  const expected = await expectedCharges(store);
  for (const n of upTo(6)) {
    expect([n, await store.rooms.rowBytesOf(peer(n))]).toEqual([n, expected.get(peer(n)) ?? 0]);
  }
}

/** Applies a change that peer `n` signs, not the creator, and is charged for. */
async function changeBy(store: StoreUnderTest, n: number, parts: Parameters<typeof changeOf>[1]): Promise<void> {
  const room = await store.rooms.getRoom(roomId);
  if (room === null) throw new Error("no room");
  const made = changeOf(room, parts);
  expect(await store.rooms.applyChange({ ...made, statement: { ...made.statement, by: keySample(n) } })).toBe(true);
}

async function dropAll({ rooms }: StoreUnderTest): Promise<number> {
  let steps = 0;
  for (let at = await rooms.dropKeys(roomId, null); ; at = await rooms.dropKeys(roomId, at)) {
    steps += 1;
    if (at === null) return steps;
  }
}

/** Cases for the charges for rows, and for dropped keys. */
export function chargeCases(open: OpenStore): void {
  describe("row charges", () => {
    test(
      "equal the sizes of the rows, for every signer, after every change of a room",
      withStore(open, async (store) => {
        const { rooms } = store;
        expect(await rooms.rowBytesOf(peer(1))).toBe(0);
        const made = roomSample(1);
        await rooms.insertRoom(made);
        const { length } = made.statement.text;
        const first = rowBytes.room + rowBytes.stay + rowBytes.key + rowBytes.statement + length;
        expect(await rooms.rowBytesOf(peer(1))).toBe(first);
        await rooms.insertRoom(roomSample(2, { creator: peer(2) }));
        await expectCharged(store);

        await change(store, roomId, {
          stays: [staySample(2, { role: "owner", addedBy: peer(1) }), staySample(3, { addedBy: peer(1) })],
          keys: [sealedSample(2, 1), sealedSample(3, 1)],
        });
        await expectCharged(store);
        const before = await rooms.rowBytesOf(peer(1));
        await changeBy(store, 2, {
          stays: [staySample(4, { addedBy: peer(2) })],
          keys: [sealedSample(4, 1, "", 2)],
        });
        expect(await rooms.rowBytesOf(peer(1))).toBe(before);
        await expectCharged(store);
        await changeBy(store, 2, {
          rekey: true,
          stays: [staySample(3, { until: 2, addedBy: peer(1) })],
          keys: [1, 2, 4].map((n) => sealedSample(n, 2, "", 2)),
        });
        await reviseStay(rooms, roomId, peer(4), leaving(epochMs));
        await expectCharged(store);
        await change(store, roomId, {
          stays: [staySample(3, { since: 2, addedBy: peer(1) })],
          keys: [sealedSample(3, 2)],
        });
        await expectCharged(store);
      }),
    );

    test(
      "change only for the winner of a race",
      withStore(open, async (store) => {
        await store.rooms.insertRoom(roomSample(1));
        const { room } = roomSample(1);
        const rekey = (n: number) =>
          changeOf(room, { rekey: true, keys: [sealedSample(1, 2, `${n}`)], salt: "x".repeat(n * 10) });
        const won = await winners(upTo(callers).map((n) => store.rooms.applyChange(rekey(n))));
        expect(won).toHaveLength(1);
        await expectCharged(store);
      }),
    );

    test(
      "are refunded with a deleted room, except for its tombstone",
      withStore(open, async (store) => {
        const { rooms } = store;
        await rooms.insertRoom(roomSample(1));
        const added = upTo(300).map((n) => staySample(n + 2, { addedBy: peer(1) }));
        await change(store, roomId, { stays: added, keys: upTo(300).map((n) => sealedSample(n + 2, 1)) });
        await expectCharged(store);
        await rooms.markDeleted(roomId, 5);
        await expectCharged(store);
        await rooms.purgeRoom(roomId);
        expect(await rooms.rowBytesOf(peer(1))).toBe(rowBytes.room);
        await rooms.purgeRoom(roomId);
        await expectCharged(store);
      }),
    );

    test(
      "are imported with the rows, also twice and over existing ones",
      withStore(open, async (store) => {
        const { rooms, snapshot } = store;
        await rooms.insertRoom(roomSample(1));
        await change(store, roomId, {
          stays: [staySample(2, { addedBy: peer(1) }), staySample(3, { addedBy: null })],
          keys: [sealedSample(2, 1, "", 3)],
        });
        const rows = await Array.fromAsync(snapshot.exportAll());
        const other = await open();
        try {
          for (let times = 0; times < 2; times++) {
            await other.snapshot.importAll(rows);
            for (const n of [1, 2, 3]) {
              expect([n, await other.rooms.rowBytesOf(peer(n))]).toEqual([n, await rooms.rowBytesOf(peer(n))]);
            }
          }
        } finally {
          await other.close();
        }
        const key = { kind: "key" as const, roomId, key: sealedSample(2, 1, "", 2) };
        const statement = { kind: "statement" as const, roomId, statement: statementSample(roomId, 1, "longer") };
        const [room, ...parts] = rows.filter((row) => row.kind === "room" || "roomId" in row);
        const isReplaced = (row: (typeof rows)[number]) =>
          row.kind === "key" ? row.key.endpoint === peer(2) : row.kind === "statement" && row.statement.version === 1;
        if (room) await snapshot.importAll([room, ...parts.filter((row) => !isReplaced(row)), key, statement]);
        await expectCharged(store);
      }),
    );
  });

  describe("dropped keys", () => {
    test(
      "are those of departed members, of every epoch, and their payers are refunded",
      withStore(open, async (store) => {
        const { rooms } = store;
        await rooms.insertRoom(roomSample(1));
        const all = [2, 3, 4];
        await change(store, roomId, {
          stays: all.map((n) => staySample(n, { addedBy: peer(1) })),
          keys: all.map((n) => sealedSample(n, 1, "", n === 2 ? 5 : 1)),
        });
        expect(await dropAll(store)).toBe(1);
        await expectCharged(store);
        for (const epoch of upTo(epochsMany).map((n) => n + 2)) {
          await change(store, roomId, { rekey: true, keys: [1, ...all].map((n) => sealedSample(n, epoch, "", 5)) });
        }
        // 2 and 3 leave and are signed out, 3 is added again, 4 has left but is not signed out yet.
        const last = epochsMany + 2;
        await change(store, roomId, {
          rekey: true,
          stays: [2, 3].map((n) => staySample(n, { until: last, addedBy: peer(1) })),
          keys: [1, 4].map((n) => sealedSample(n, last)),
        });
        await change(store, roomId, {
          stays: [staySample(3, { since: last, addedBy: peer(1) })],
          keys: [sealedSample(3, last)],
        });
        await reviseStay(rooms, roomId, peer(4), leaving(epochMs));
        await expectCharged(store);
        const before = await rooms.rowBytesOf(peer(5));
        await dropAll(store);
        await expectCharged(store);
        expect(before - (await rooms.rowBytesOf(peer(5)))).toBe((epochsMany + 1) * rowBytes.key);
        for (const epoch of [1, 2, epochsMany, last - 1]) {
          expect(await rooms.getSealedKey(roomId, peer(2), epoch)).toBeNull();
          for (const n of [3, 4]) {
            const kept = sealedSample(n, epoch, "", epoch === 1 ? 1 : 5);
            expect(await rooms.getSealedKey(roomId, peer(n), epoch)).toEqual(kept);
          }
        }
        expect(await rooms.getSealedKey(roomId, peer(1), null)).toEqual(sealedSample(1, last));
        await dropAll(store);
        await expectCharged(store);
        await change(store, roomId, { rekey: true, keys: [1, 3].map((n) => sealedSample(n, last + 1)) });
        expect(await rooms.getSealedKey(roomId, peer(3), last - 1)).toEqual(sealedSample(3, last - 1, "", 5));
      }),
      60_000,
    );

    test(
      "do not exist for an unknown room",
      withStore(open, async ({ rooms }) => {
        expect(await rooms.dropKeys(roomIdSample(9), null)).toBeNull();
      }),
    );
  });
}
