/** The store of a cluster: the whole control plane in replicated key-value buckets of JetStream. */

import { Type } from "@sinclair/typebox";
import { Nats } from "../../contracts/nats.ts";
import { SharedNonces } from "../../contracts/nonces.ts";
import { definePlugin } from "../../contracts/plugin.ts";
import { Replicas } from "../../contracts/replicas.ts";
import { SpaceReserve, StoreReserve } from "../../contracts/reserve.ts";
import { InviteStore, RoomStore, Snapshot, UserStore } from "../../contracts/store.ts";
import { WayBackStore } from "../../contracts/way-back.ts";
import { openTimeoutMs } from "../../nats/open-stream.ts";
import { openKvStore } from "./store.ts";

const Config = Type.Object(
  {
    replicas: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 5, default: 1, description: "the number of replicas of each new bucket" }),
    ),
  },
  { additionalProperties: false },
);

/** How long the setup may take besides opening the buckets, in milliseconds. */
const setupRestMs = 10_000;

/** Provides the store's interfaces, and the state that the nodes of a cluster share. */
export default definePlugin({
  name: "store-kv",
  api: 1,
  config: Config,
  facts: () => ({ store: "kv", store_nodes: "many" }),
  setupBudgetMs: openTimeoutMs + setupRestMs,
  provides: { RoomStore, UserStore, InviteStore, Snapshot, WayBackStore, SharedNonces, Replicas, StoreReserve },
  requires: { nats: Nats },
  async setup({ config, log, now, signal, onStop }, { nats }) {
    const onWait = (cause: unknown) => log.warn("cannot open the store's buckets yet; retrying", { cause });
    const store = await openKvStore(await nats.connection("CTL"), {
      replicas: config.replicas ?? 1,
      leads: () => nats.leads(),
      onWait,
      signal,
      now,
    });
    const reserve = await SpaceReserve.start({
      measure: store.space,
      full: "the store is full",
      hint: "delete rooms or blobs, or raise nats-embedded.ctl_bytes_max",
      now,
    });
    onStop(() => reserve.stop());
    return {
      services: {
        RoomStore: store.rooms,
        UserStore: store.users,
        InviteStore: store.invites,
        Snapshot: store.snapshot,
        WayBackStore: store.wayBack,
        SharedNonces: store.nonces,
        Replicas: store.replicas,
        StoreReserve: reserve,
      },
      async start() {
        // In the background: only rooms from before version 0.2.0 lack charges.
        store.countRows().catch((cause: unknown) => {
          if (!signal.aborted) log.warn("could not count the rows of all rooms yet; will retry", { cause });
        });
      },
      posture: { store: "kv" },
      async health() {
        const health = await store.health();
        return health.ok ? reserve.health() : health;
      },
    };
  },
});
