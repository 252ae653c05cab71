import { type Route, route } from "../../contracts/plugin.ts";
import * as api from "../../wire/api.ts";
import { UnibusError } from "../../wire/errors.ts";
import { acceptRoom, listOwnRooms } from "./acceptance.ts";
import type { RoomsContext } from "./context.ts";
import { addMembers } from "./members.ts";
import { memberReply } from "./replies.ts";

/** The routes for the members and statements of a room. */
export function memberRoutes({ store, users, rooms, notices, rules }: RoomsContext): Route[] {
  const room = { params: api.RoomParams };
  return [
    route(
      "GET",
      "/rooms/:id/members",
      "signed",
      {
        summary: "Lists every membership period of every member",
        cost: "list",
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
        const added = await addMembers(membership, await call.read(), { users, ...rules });
        notices.tellSlowly(added, "joined", call.params.id);
        return { version: membership.room.version + 1 };
      },
    ),
    route(
      "GET",
      "/rooms/:id/statements",
      "signed",
      {
        summary: "Lists the room's signed statements",
        cost: "statements",
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
  ];
}

/** The routes for a member's own data: its key, its rooms, and accepting a room. */
export function ownRoutes(parts: RoomsContext): Route[] {
  const { store, rooms } = parts;
  const room = { params: api.RoomParams };
  return [
    route(
      "GET",
      "/rooms/:id/key",
      "signed",
      {
        summary: "Returns your own sealed room key",
        cost: "key",
        errors: ["forbidden", "not_found", "gone"],
        ...room,
        query: api.KeyQuery,
        reply: api.RoomKey,
      },
      async (call) => {
        const { id } = call.params;
        await rooms.member(id, call.caller.endpoint);
        const key = await store.getSealedKey(id, call.caller.endpoint, call.query.epoch ?? null);
        if (key === null)
          throw new UnibusError("not_found", "you have no key for that epoch (you were not a member then)");
        return { epoch: key.epoch, sealed_key: key.sealedKey };
      },
    ),
    route(
      "PUT",
      "/rooms/:id/accept",
      "signed",
      {
        summary: "Accepts your membership, so that it counts on the data plane",
        errors: ["forbidden", "not_found", "gone"],
        ...room,
      },
      async ({ params, caller }) => {
        await acceptRoom(params.id, caller.endpoint, parts);
        return undefined;
      },
    ),
    route(
      "GET",
      "/members/:endpoint/rooms",
      "signed",
      {
        summary: "Lists the rooms that you are a member of, accepted or not",
        cost: "list",
        errors: ["forbidden"],
        params: api.EndpointParams,
        query: api.RoomsQuery,
        reply: api.RoomList,
      },
      async ({ params, query, caller }) => {
        const { endpoint } = caller;
        if (params.endpoint !== endpoint) {
          throw new UnibusError("forbidden", `you can only list your own rooms (GET /members/${endpoint}/rooms)`);
        }
        return listOwnRooms(endpoint, query, parts);
      },
    ),
  ];
}
