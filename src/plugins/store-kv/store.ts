import type { NatsConnection } from "nats";
import { inTime } from "../../contracts/deadline.ts";
import type { SharedNonces } from "../../contracts/nonces.ts";
import type { Health } from "../../contracts/plugin.ts";
import type { Replicas } from "../../contracts/replicas.ts";
import type { Space } from "../../contracts/reserve.ts";
import type { InviteStore, RoomStore, Snapshot, UserStore } from "../../contracts/store.ts";
import type { WayBackStore } from "../../contracts/way-back.ts";
import { type ApiReply, JetStream } from "../../nats/jetstream.ts";
import { isUnibusError } from "../../wire/errors.ts";
import { buckets } from "../../wire/names.ts";
import { Bucket } from "./bucket.ts";
import { createReplicas, type OpenBuckets, openBuckets } from "./buckets.ts";
import { expectReply, storeErrors, unanswered } from "./errors.ts";
import { createInvites, inviteBuckets } from "./invites.ts";
import { Linearizable } from "./linearizable/linearizable.ts";
import { createNonces } from "./nonces.ts";
import { RoomBuckets } from "./rooms/room-head.ts";
import { RoomIndex } from "./rooms/room-index.ts";
import { createRooms } from "./rooms/rooms.ts";
import { RowTotals } from "./rooms/row-totals.ts";
import { createWayBack } from "./rooms/way-back.ts";
import { createSnapshot } from "./snapshot.ts";
import { UserIndex } from "./user-index.ts";
import { createUsers, userBuckets } from "./users.ts";

/** The timeout of one operation, in milliseconds: longer than that of each call that it makes. */
const opTimeoutMs = 8_000;
/** The timeout of a change of a room, which may write parts for thousands of members, in milliseconds. */
const changeTimeoutMs = 30_000;
/**
 * The share of the account's disk space that only removals may use, and its maximum in bytes.
 * Source: docs/protocol/limits.md.
 */
const reserveMax = { bytes: 268_435_456, share: 0.05 } as const;
/** A key and room id that never exists. Reading it tests whether a bucket answers. */
const nobodys = "0";

/** All interfaces of a store over the buckets of one account. */
export interface KvStore {
  readonly rooms: RoomStore;
  readonly users: UserStore;
  readonly invites: InviteStore;
  readonly snapshot: Snapshot;
  readonly wayBack: WayBackStore;
  readonly nonces: SharedNonces;
  readonly replicas: Replicas;
  /** The space of the account that holds the buckets; null if it has no limit. Errors: unavailable. */
  space(): Promise<Space | null>;
  /** Counts the rows of rooms without charges. Errors: unavailable. */
  countRows(): Promise<void>;
  /**
   * Checks that the leader of every bucket answers. Each bucket has its own leader and elects a new one independently.
   */
  health(): Promise<Health>;
}

type Port = object;
type Operation = (...values: readonly unknown[]) => Promise<unknown>;

/** Gives every operation of an interface a timeout. Those named in `longer` get the longer one; facts stay. */
function bounded<P extends Port>(port: P, longer: readonly (keyof P)[] = []): P {
  const late = () => unanswered("the operation timed out");
  const limits = Object.entries(port).map(([name, operation]: [string, Operation | boolean]) => {
    if (typeof operation !== "function") return [name, operation];
    const ms = longer.includes(name as keyof P) ? changeTimeoutMs : opTimeoutMs;
    const limited: Operation = (...values) =>
      inTime(
        Promise.try(() => operation(...values)),
        ms,
        late,
      );
    return [name, limited];
  });
  return Object.fromEntries(limits) as P;
}

interface Account extends ApiReply {
  readonly storage: number;
  readonly limits: { readonly max_storage: number };
}

/** Reads the disk space of a JetStream account. */
async function spaceOf(js: JetStream): Promise<Space | null> {
  const { storage, limits } = expectReply(await js.read<Account>("INFO", ""));
  const all = limits.max_storage;
  if (all <= 0) return null;
  return { free: all - storage, reserve: Math.min(reserveMax.bytes, all * reserveMax.share) };
}

/** The options for opening the store. */
export interface KvOptions extends OpenBuckets {
  /** The time in milliseconds since the epoch. */
  readonly now: () => number;
}

/**
 * Opens the store over a connection in the account that holds the buckets. Several nodes may have it open: a change
 * that one node commits is visible to the next read on every node.
 * Errors: those of `openBuckets`.
 */
export async function openKvStore(connection: NatsConnection, options: KvOptions): Promise<KvStore> {
  const { now, signal } = options;
  const js = new JetStream(connection, storeErrors);
  await openBuckets(js, options);
  const replicas = createReplicas(js, now);
  const linearizable = (bucket: string) => new Linearizable(js, bucket, replicas, signal);
  const kv = new RoomBuckets(js, linearizable(buckets.rooms));
  const index = new RoomIndex(js, now);
  const totals = new RowTotals(js, kv, signal);
  const userKv = userBuckets(js, linearizable(buckets.users));
  const inviteKv = inviteBuckets(js, now);
  const users = bounded(createUsers(userKv, new UserIndex(js, signal)), ["listUsers", "listActive"]);
  const rooms = bounded(createRooms({ kv, index, now }, totals), [
    ...(["insertRoom", "applyChange", "dropKeys", "purgeRoom", "listRooms", "rowBytesOf"] as const),
  ]);
  const every = Object.values(buckets).map((name) => new Bucket(js, name));
  return {
    rooms,
    users,
    invites: bounded(createInvites(inviteKv)),
    snapshot: createSnapshot({ kv, index, users, userKv, inviteKv }),
    wayBack: bounded(createWayBack(js, { kv, index, now }), ["restoreRoom", "openWayBack", "listContested"]),
    nonces: bounded(createNonces(js)),
    replicas: bounded(replicas),
    space: () => spaceOf(js),
    countRows: () => totals.countAll(),
    async health() {
      try {
        // These two reads need a leader lease, which a partitioned leader does not get.
        await Promise.all([users.getRoster(), rooms.getRoom(nobodys), ...every.map((bucket) => bucket.get(nobodys))]);
        return { ok: true };
      } catch (error) {
        return { ok: false, ...(isUnibusError(error) && { detail: error.message }) };
      }
    },
  };
}
