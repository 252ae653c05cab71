import { statfs } from "node:fs/promises";
import { join } from "node:path";
import {
  definePlugin,
  InviteStore,
  RoomStore,
  Snapshot,
  type Space,
  SpaceReserve,
  StoreReserve,
  Type,
  UserStore,
  WayBackStore,
} from "../../contracts/index.ts";
import { openSqliteStore } from "./store.ts";

const fileDefault = "unibus.db";

/**
 * The free disk space that only removals may use: a number of bytes, or a share of a smaller disk.
 * Source: docs/protocol/limits.md.
 */
const reserveMax = { bytes: 67_108_864, share: 0.05 } as const;

/** Measures the space of the disk that holds a directory. */
async function spaceOf(folder: string): Promise<Space> {
  const { bavail, blocks, bsize } = await statfs(folder);
  return { free: bavail * bsize, reserve: Math.min(reserveMax.bytes, blocks * bsize * reserveMax.share) };
}

const Config = Type.Object(
  {
    file: Type.Optional(
      Type.String({
        pattern: "^[A-Za-z0-9_-][A-Za-z0-9._-]*$",
        default: fileDefault,
        description: "the file name of the database in the data directory",
      }),
    ),
  },
  { additionalProperties: false },
);

/** The store of a single machine: a SQLite database, one file in the data directory. */
export default definePlugin({
  name: "store-sqlite",
  api: 1,
  config: Config,
  facts: ({ file = fileDefault }) => ({ store: `sqlite ${file}` }),
  provides: { RoomStore, UserStore, InviteStore, Snapshot, WayBackStore, StoreReserve },
  async setup(ctx) {
    const file = join(ctx.site.dataDir, ctx.config.file ?? fileDefault);
    const store = openSqliteStore({ file, log: ctx.log, now: ctx.now });
    ctx.onStop(store.close);
    const reserve = await SpaceReserve.start({
      measure: () => spaceOf(ctx.site.dataDir),
      full: "the server's disk is full",
      hint: "free some space; no restart is needed",
      now: ctx.now,
    });
    ctx.onStop(() => reserve.stop());
    return {
      services: {
        RoomStore: store.rooms,
        UserStore: store.users,
        InviteStore: store.invites,
        Snapshot: store.snapshot,
        WayBackStore: store.wayBack,
        StoreReserve: reserve,
      },
      posture: { store: "sqlite" },
      async health() {
        const health = await store.health();
        return health.ok ? reserve.health() : health;
      },
    };
  },
});
