import { audit } from "../../contracts/audit.ts";
import { type Route, route } from "../../contracts/plugin.ts";
import { statementsMax } from "../../wire/api.ts";
import { UnibusError } from "../../wire/errors.ts";
import { routes } from "../../wire/routes.ts";
import { acceptRoom, listOwnRooms } from "./acceptance.ts";
import type { RoomsContext } from "./context.ts";
import { addMembers } from "./members.ts";
import { memberReply } from "./replies.ts";

/** The routes for the members and statements of a room. */
export function memberRoutes({ store, users, rooms, notices, rules, log }: RoomsContext): Route[] {
  return [
    route(routes.rooms.members, async (call) => {
      const { id } = call.params;
      const membership = await rooms.member(id, call.caller.endpoint);
      const stays = await store.listStays(id);
      return { version: membership.room.version, members: stays.map(memberReply) };
    }),
    route(routes.rooms.addMembers, async (call) => {
      const membership = await rooms.member(call.params.id, call.caller.endpoint);
      const added = await addMembers(membership, await call.read(), { users, ...rules });
      notices.notifyRateLimited(added, "joined", call.params.id);
      audit(log, "members_added", call, { room_id: call.params.id, members: added });
      return { version: membership.room.version + 1 };
    }),
    route(routes.rooms.statements, async (call) => {
      await rooms.member(call.params.id, call.caller.endpoint);
      const found = await store.listStatements(call.params.id, call.query.from ?? 1, statementsMax + 1);
      return { statements: found.slice(0, statementsMax), more: found.length > statementsMax };
    }),
  ];
}

/** The routes for a member's own data: its key, its rooms, and accepting a room. */
export function ownRoutes(parts: RoomsContext): Route[] {
  const { store, rooms } = parts;
  return [
    route(routes.rooms.key, async (call) => {
      const { id } = call.params;
      await rooms.member(id, call.caller.endpoint);
      const key = await store.getSealedKey(id, call.caller.endpoint, call.query.epoch ?? null);
      if (key === null)
        throw new UnibusError("not_found", "you have no key for that epoch (you were not a member then)");
      return { epoch: key.epoch, sealed_key: key.sealedKey };
    }),
    route(routes.rooms.accept, async ({ params, caller }) => {
      await acceptRoom(params.id, caller.endpoint, parts);
      return undefined;
    }),
    route(routes.rooms.listOwn, async ({ params, query, caller }) => {
      const { endpoint } = caller;
      if (params.endpoint !== endpoint) {
        throw new UnibusError("forbidden", `you can only list your own rooms (GET /members/${endpoint}/rooms)`);
      }
      return listOwnRooms(endpoint, query, parts);
    }),
  ];
}
