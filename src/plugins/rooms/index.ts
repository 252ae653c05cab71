/**
 * Rooms: the rules over a store, and the routes for peers.
 * create.ts, members.ts and membership.ts have the rules of changes, each under a statement that an owner signed;
 * quotas.ts limits them; way-back/ restores rooms on a bus that was restored from a backup. Other plugins use `Rooms`
 * to check memberships.
 */
import { Type } from "@sinclair/typebox";
import { Denials } from "../../contracts/denials.ts";
import { Nats } from "../../contracts/nats.ts";
import { Notices } from "../../contracts/notices.ts";
import { definePlugin, type Log } from "../../contracts/plugin.ts";
import { StoreReserve } from "../../contracts/reserve.ts";
import { Rooms } from "../../contracts/rooms.ts";
import { RoomStore, UserStore } from "../../contracts/store.ts";
import { type Capacity, RoomStreams } from "../../contracts/streams.ts";
import { WayBackStore } from "../../contracts/way-back.ts";
import { every } from "../../lib/every.ts";
import { KeyedMutex } from "../../lib/keyed-mutex.ts";
import { UnibusError } from "../../wire/errors.ts";
import { builtinNamespaces } from "../../wire/names.ts";
import { routes } from "../../wire/routes.ts";
import { gone, type RoomsContext } from "./context.ts";
import type { CreateRules } from "./create.ts";
import { memberRoutes, ownRoutes } from "./member-routes.ts";
import { RoomMembership } from "./membership.ts";
import { membershipRoutes } from "./membership-routes.ts";
import { Newcomers } from "./newcomers.ts";
import { RoomQuotas } from "./quotas.ts";
import { roomRoutes } from "./room-routes.ts";
import { Signalling } from "./signalling.ts";
import { wayBackRoutes } from "./way-back/routes.ts";

const Config = Type.Object(
  {
    per_user: Type.Optional(Type.Integer({ minimum: 1, description: "maximum live rooms created by one user" })),
    rows_per_owner: Type.Optional(
      Type.Integer({
        minimum: 65_536,
        description: "maximum bytes of statements, members and sealed keys charged to one signer",
      }),
    ),
    statements_per_minute: Type.Optional(
      Type.Integer({
        minimum: 0,
        description: "maximum changes of one room per minute, not counting removals; 0: no limit",
      }),
    ),
    allow_unencrypted: Type.Optional(Type.Boolean({ description: "unencrypted rooms on a public address" })),
    create: Type.Optional(
      Type.Record(Type.String(), Type.Union([Type.Literal("user"), Type.Literal("admin")]), {
        description: "who may create rooms in a namespace: user or admin",
      }),
    ),
    signal_members_max: Type.Optional(
      Type.Integer({
        minimum: 0,
        description: "maximum members of a room with typing, presence and read marks; 0: none",
      }),
    ),
    bytes_max: Type.Optional(Type.Integer({ minimum: 1, description: "maximum bytes of a persisted room" })),
    when_full: Type.Optional(
      Type.Union([Type.Literal("refuse"), Type.Literal("drop_oldest")], { description: "refuse or drop_oldest" }),
    ),
  },
  { additionalProperties: false },
);

/** Default limit on the live rooms of one creator. Source: docs/protocol/logins.md. */
const perUserDefault = 1_000;

/**
 * Default quotas: bytes of rows of one signer, and statements of one room per minute. Source: docs/protocol/limits.md.
 */
const rowsPerOwnerDefault = 268_435_456;
const statementsPerMinuteDefault = 60;
/** Default limit on the members of a room with signals. Source: docs/protocol/logins.md. */
const signalMembersMaxDefault = 200;
/** Default limit on the size of a persisted room, in bytes. Source: docs/protocol/history.md. */
const bytesMaxDefault = 1_073_741_824;
/** Interval between checks for rooms over their size limit, in milliseconds. Source: docs/protocol/history.md. */
const enforceEveryMs = 10_000;

/** Periodically applies the byte limit to rooms that have exceeded it, until the bus stops. */
function enforceEvery(streams: RoomStreams | undefined, capacity: Capacity, log: Log, signal: AbortSignal): void {
  if (streams === undefined) return;
  const onError = (cause: unknown) => log.warn("could not check for full rooms; will retry", { cause });
  every(() => streams.enforce(capacity), { pauseMs: enforceEveryMs, signal, onError });
}

/** Returns the namespaces in which only admins create rooms. Errors: invalid for an unknown namespace. */
function adminNamespaces(create: Readonly<Record<string, "user" | "admin">>, known: readonly string[]): Set<string> {
  const unknown = Object.keys(create).find((namespace) => !known.includes(namespace));
  if (unknown !== undefined) {
    throw new UnibusError("invalid", `rooms.create: ${unknown} is not a namespace (use one of ${known.join(", ")})`);
  }
  return new Set(Object.keys(create).filter((namespace) => create[namespace] === "admin"));
}

/** Provides the rules and routes of rooms. */
export default definePlugin({
  name: "rooms",
  api: 1,
  config: Config,
  provides: { rooms: Rooms },
  requires: { store: RoomStore, users: UserStore, wayBack: WayBackStore },
  optional: { streams: RoomStreams, nats: Nats, reserve: StoreReserve, denials: Denials },
  routes: Object.values(routes.rooms),
  async setup({ config, site, log, now, signal }, { store, users, wayBack, streams, nats, reserve, denials }) {
    const namespaces = nats?.namespaces ?? builtinNamespaces;
    const signalling = new Signalling(store, config.signal_members_max ?? signalMembersMaxDefault);
    const rooms: Rooms = {
      async member(roomId, endpoint) {
        // In parallel, so that the store can share the work of both reads.
        const [room, stay] = await Promise.all([store.getRoom(roomId), store.getStay(roomId, endpoint)]);
        if (room === null) throw new UnibusError("not_found", "no such room");
        if (room.deletedAt !== null) throw gone();
        if (stay === null || stay.leftAt !== null) {
          throw new UnibusError("forbidden", "you are not a member of this room (ask an owner to add you)");
        }
        return { room, stay };
      },
      accepted: async (endpoint) => signalling.mark(await store.listRoomsOf(endpoint, { accepted: true })),
    };
    const limits = {
      rowsPerOwner: config.rows_per_owner ?? rowsPerOwnerDefault,
      statementsPerMinute: config.statements_per_minute ?? statementsPerMinuteDefault,
    };
    const quotas = new RoomQuotas(store, limits, now);
    const notices = new Notices(nats);
    const rules: CreateRules = {
      store,
      streams,
      places: new KeyedMutex(),
      namespaces,
      adminNamespaces: adminNamespaces(config.create ?? {}, namespaces),
      perUserMax: config.per_user ?? perUserDefault,
      quotas,
      newcomers: new Newcomers({ store, users, notices, log, now, signal }),
      allowUnencrypted: config.allow_unencrypted === true || !site.listener.isPublic,
      now,
    };
    const capacity = { bytesMax: config.bytes_max ?? bytesMaxDefault, whenFull: config.when_full ?? "refuse" };
    const life = new RoomMembership({ store, streams, notices, denials, places: rules.places, reserve, quotas, now });
    const parts: RoomsContext = { store, users, streams, rooms, rules, life, notices, denials, capacity, wayBack, log };
    return {
      start: async () => enforceEvery(streams, capacity, log, signal),
      services: { rooms },
      routes: [roomRoutes, memberRoutes, ownRoutes, membershipRoutes, wayBackRoutes].flatMap((bind) => bind(parts)),
    };
  },
});
