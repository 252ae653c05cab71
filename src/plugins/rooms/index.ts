/** Rooms: their rules over a store, and the routes by which peers use them. */
import { Type } from "@sinclair/typebox";
import { Nats } from "../../contracts/nats.ts";
import { definePlugin, type Route, route } from "../../contracts/plugin.ts";
import { Rooms } from "../../contracts/rooms.ts";
import { RoomStore, UserStore } from "../../contracts/store.ts";
import { RoomStreams } from "../../contracts/streams.ts";
import * as api from "../../wire/api.ts";
import { UnibusError } from "../../wire/errors.ts";
import { builtinNamespaces } from "../../wire/names.ts";
import { type CreateRules, createRoom } from "./create.ts";
import { KeyedLock } from "./keyed-lock.ts";
import { addMembers, checkMayDelete } from "./members.ts";
import { memberReply, roomListEntry, roomReply } from "./views.ts";

const Config = Type.Object(
  {
    per_user: Type.Optional(Type.Integer({ minimum: 1, description: "live rooms that one user may have created" })),
    allow_unencrypted: Type.Optional(Type.Boolean({ description: "unencrypted rooms on a public bind" })),
    create: Type.Optional(
      Type.Record(Type.String(), Type.Union([Type.Literal("user"), Type.Literal("admin")]), {
        description: "who may create rooms in a namespace: user or admin",
      }),
    ),
    bytes_max: Type.Optional(Type.Integer({ minimum: 1, description: "bytes that a persisted room may hold" })),
    when_full: Type.Optional(
      Type.Union([Type.Literal("refuse"), Type.Literal("drop_oldest")], { description: "refuse or drop_oldest" }),
    ),
  },
  { additionalProperties: false },
);

/** Live rooms of one creator where nothing is set. Source: spec 9. */
const perUserDefault = 1_000;

const gone = () => new UnibusError("gone", "this room was deleted (its id is never used again)");

/** Errors: invalid for a namespace that this bus does not have. */
function adminNamespaces(create: Readonly<Record<string, "user" | "admin">>, known: readonly string[]): Set<string> {
  const unknown = Object.keys(create).find((namespace) => !known.includes(namespace));
  if (unknown !== undefined) {
    throw new UnibusError("invalid", `rooms.create: ${unknown} is no namespace here (there are ${known.join(", ")})`);
  }
  return new Set(Object.keys(create).filter((namespace) => create[namespace] === "admin"));
}

interface Parts {
  readonly store: RoomStore;
  readonly users: UserStore;
  readonly streams: RoomStreams | undefined;
  readonly rooms: Rooms;
  readonly rules: CreateRules;
  readonly capacity: { readonly bytes_max: number; readonly when_full: "refuse" | "drop_oldest" };
}

function roomRoutes({ store, streams, rooms, rules, capacity }: Parts): Route[] {
  const room = { params: api.RoomParams };
  return [
    route(
      "POST",
      "/rooms",
      "signed",
      {
        summary: "Creates a room",
        errors: ["forbidden", "conflict", "gone", "quota"],
        body: api.CreateRoom,
        reply: api.Room,
        status: 201,
      },
      async (call) => roomReply(await createRoom(call.body, call.caller, rules)),
    ),
    route(
      "GET",
      "/rooms/:id",
      "signed",
      { summary: "A room", errors: ["forbidden", "not_found", "gone"], ...room, reply: api.RoomView },
      async (call) => {
        const membership = await rooms.member(call.params.id, call.caller.endpoint);
        return { ...roomReply(membership.room), ...roomListEntry(membership), ...capacity };
      },
    ),
    route(
      "DELETE",
      "/rooms/:id",
      "signed",
      { summary: "Deletes a room for ever", errors: ["forbidden", "not_found", "gone"], ...room },
      async (call) => {
        const { id } = call.params;
        const found = await store.getRoom(id);
        if (found === null) throw new UnibusError("not_found", "there is no such room");
        if (found.deletedAt !== null) throw gone();
        checkMayDelete(await store.getStay(id, call.caller.endpoint), call.caller);
        if (!(await store.markDeleted(id, rules.now()))) throw gone();
        await streams?.remove(id);
        await store.purgeRoom(id);
        return undefined;
      },
    ),
  ];
}

function memberRoutes({ store, users, rooms }: Parts): Route[] {
  const room = { params: api.RoomParams };
  return [
    route(
      "GET",
      "/rooms/:id/members",
      "signed",
      {
        summary: "Every stay of every member",
        errors: ["forbidden", "not_found", "gone"],
        ...room,
        reply: api.MemberList,
      },
      async (call) => {
        const { id } = call.params;
        const membership = await rooms.member(id, call.caller.endpoint);
        const stays = await store.listStays(id);
        return { version: membership.room.version, members: stays.map(memberReply) };
      },
    ),
    route(
      "POST",
      "/rooms/:id/members",
      "signed",
      {
        summary: "Adds members",
        errors: ["forbidden", "not_found", "gone", "conflict", "quota"],
        ...room,
        body: api.AddMembers,
        reply: api.Members,
        status: 201,
      },
      async (call) => {
        const membership = await rooms.member(call.params.id, call.caller.endpoint);
        const { body } = call;
        await addMembers(membership, body, { store, users });
        return { version: membership.room.version + 1 };
      },
    ),
    route(
      "GET",
      "/rooms/:id/statements",
      "signed",
      {
        summary: "The room's signed history",
        errors: ["forbidden", "not_found", "gone"],
        ...room,
        query: api.StatementsQuery,
        reply: api.StatementList,
      },
      async (call) => {
        await rooms.member(call.params.id, call.caller.endpoint);
        const found = await store.listStatements(call.params.id, call.query.from ?? 1, api.statementsMax + 1);
        return { statements: found.slice(0, api.statementsMax), more: found.length > api.statementsMax };
      },
    ),
    route(
      "GET",
      "/rooms/:id/key",
      "signed",
      {
        summary: "One's own sealed room key",
        errors: ["forbidden", "not_found", "gone"],
        ...room,
        query: api.KeyQuery,
        reply: api.RoomKey,
      },
      async (call) => {
        const { id } = call.params;
        await rooms.member(id, call.caller.endpoint);
        const key = await store.getSealedKey(id, call.caller.endpoint, call.query.epoch ?? null);
        if (key === null) throw new UnibusError("not_found", "you have no key of that epoch (you joined later?)");
        return { epoch: key.epoch, sealed_key: key.sealedKey };
      },
    ),
    route(
      "GET",
      "/members/:endpoint/rooms",
      "signed",
      { summary: "One's own rooms", errors: ["forbidden"], params: api.EndpointParams, reply: api.RoomList },
      async (call) => {
        if (call.params.endpoint !== call.caller.endpoint) {
          throw new UnibusError("forbidden", "one sees one's own rooms only (ask for yours)");
        }
        return (await rooms.of(call.caller.endpoint)).map(roomListEntry);
      },
    ),
  ];
}

/** Provides the rooms' rules and their routes. */
export default definePlugin({
  name: "rooms",
  api: 1,
  config: Config,
  provides: { rooms: Rooms },
  requires: { store: RoomStore, users: UserStore },
  optional: { streams: RoomStreams, nats: Nats },
  async setup({ config, site, now }, { store, users, streams, nats }) {
    const namespaces = nats?.namespaces ?? builtinNamespaces;
    const rooms: Rooms = {
      async member(roomId, endpoint) {
        const room = await store.getRoom(roomId);
        if (room === null) throw new UnibusError("not_found", "there is no such room");
        if (room.deletedAt !== null) throw gone();
        const stay = await store.getStay(roomId, endpoint);
        if (stay === null || stay.leftAt !== null) {
          throw new UnibusError("forbidden", "you are no member of this room (an owner can add you)");
        }
        return { room, stay };
      },
      of: (endpoint) => store.listRoomsOf(endpoint),
    };
    const rules: CreateRules = {
      store,
      streams,
      places: new KeyedLock(),
      namespaces,
      adminNamespaces: adminNamespaces(config.create ?? {}, namespaces),
      perUserMax: config.per_user ?? perUserDefault,
      allowUnencrypted: config.allow_unencrypted === true || !site.listener.isPublic,
      now,
    };
    const capacity = { bytes_max: config.bytes_max ?? 1_073_741_824, when_full: config.when_full ?? "refuse" };
    const parts: Parts = { store, users, streams, rooms, rules, capacity };
    return { services: { rooms }, routes: [...roomRoutes(parts), ...memberRoutes(parts)] };
  },
});
