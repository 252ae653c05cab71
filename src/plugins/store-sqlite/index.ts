import { join } from "node:path";
import {
  definePlugin,
  InviteStore,
  RoomStore,
  Snapshot,
  Type,
  UserStore,
  WayBackStore,
} from "../../contracts/index.ts";
import { openSqliteStore } from "./store.ts";

const fileDefault = "unibus.db";

const Config = Type.Object(
  {
    file: Type.Optional(
      Type.String({
        pattern: "^[A-Za-z0-9_-][A-Za-z0-9._-]*$",
        default: fileDefault,
        description: "the database's name in the data directory",
      }),
    ),
  },
  { additionalProperties: false },
);

/** The store of one machine: SQLite, in one file of the data directory. */
export default definePlugin({
  name: "store-sqlite",
  api: 1,
  config: Config,
  facts: ({ file = fileDefault }) => ({ store: `sqlite ${file}` }),
  provides: { RoomStore, UserStore, InviteStore, Snapshot, WayBackStore },
  async setup(ctx) {
    const file = join(ctx.site.dataDir, ctx.config.file ?? fileDefault);
    const store = openSqliteStore({ file, log: ctx.log, now: ctx.now });
    ctx.onStop(store.close);
    return {
      services: {
        RoomStore: store.rooms,
        UserStore: store.users,
        InviteStore: store.invites,
        Snapshot: store.snapshot,
        WayBackStore: store.wayBack,
      },
      posture: { store: "sqlite" },
      health: store.health,
    };
  },
});
