import type { SnapshotRow } from "../../contracts/store.ts";

/** The number of rows of each kind, in export order. */
export interface RowCounts {
  readonly users: number;
  readonly invites: number;
  readonly rooms: number;
  /** All rows, including the parts of rooms. */
  readonly rows: number;
}

/** Counts rows as they pass. */
export class RowCounter {
  #users = 0;
  #invites = 0;
  #rooms = 0;
  #rows = 0;

  get counts(): RowCounts {
    return { users: this.#users, invites: this.#invites, rooms: this.#rooms, rows: this.#rows };
  }

  /** Yields the same rows and reports the count to `report`. */
  async *pass(rows: AsyncIterable<SnapshotRow>, report: (rows: number) => void = () => undefined) {
    for await (const row of rows) {
      this.#rows += 1;
      if (row.kind === "user") this.#users += 1;
      if (row.kind === "invite") this.#invites += 1;
      if (row.kind === "room") this.#rooms += 1;
      report(this.#rows);
      yield row;
    }
  }
}

const digits = (value: number): string => String(value).padStart(10, "0");

/** Names a row so that names sort in export order. */
function rowName(row: SnapshotRow): string {
  switch (row.kind) {
    case "user":
      return `1 user ${row.user.signPub}`;
    case "invite":
      return `2 invite ${row.invite.id}`;
    case "room":
      return `3 room ${row.room.roomId}`;
    case "stay":
      return `3 room ${row.roomId} 1 stay ${row.stay.endpoint} ${digits(row.stay.since)}`;
    case "key":
      return `3 room ${row.roomId} 2 key ${row.key.endpoint} ${digits(row.key.epoch)}`;
    case "statement":
      return `3 room ${row.roomId} 3 statement ${digits(row.statement.version)}`;
  }
}

const sortedKeys = (_: string, value: unknown): unknown =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
    : value;

/** Serializes a row: equal rows of two stores have equal texts. */
export function rowText(row: SnapshotRow): string {
  return JSON.stringify(row, sortedKeys);
}

/** A row that differs between two exports, or that only one of them has. */
export interface Difference {
  readonly name: string;
  readonly here: SnapshotRow | null;
  readonly there: SnapshotRow | null;
}

/** Yields the differences of two exports, in their order. Each is read once, without holding it in memory. */
export async function* differences(
  here: AsyncIterable<SnapshotRow>,
  there: AsyncIterable<SnapshotRow>,
): AsyncGenerator<Difference> {
  const [a, b] = [here[Symbol.asyncIterator](), there[Symbol.asyncIterator]()];
  try {
    let [left, right] = [await a.next(), await b.next()];
    while (!left.done || !right.done) {
      const [mine, theirs] = [left.done ? null : rowName(left.value), right.done ? null : rowName(right.value)];
      const isMine = mine !== null && (theirs === null || mine <= theirs);
      const isTheirs = theirs !== null && (mine === null || theirs <= mine);
      const [one, other] = [
        isMine ? (left.value as SnapshotRow) : null,
        isTheirs ? (right.value as SnapshotRow) : null,
      ];
      if (one === null || other === null || rowText(one) !== rowText(other)) {
        yield { name: (mine !== null && isMine ? mine : (theirs ?? "")).slice(2), here: one, there: other };
      }
      if (isMine) left = await a.next();
      if (isTheirs) right = await b.next();
    }
  } finally {
    await a.return?.();
    await b.return?.();
  }
}
