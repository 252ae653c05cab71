import { audit } from "../../contracts/audit.ts";
import { type Route, route } from "../../contracts/plugin.ts";
import { UnibusError } from "../../wire/errors.ts";
import { routes } from "../../wire/routes.ts";
import type { RoomsContext } from "./context.ts";
import { checkOwner } from "./members.ts";

/** The routes that change an existing room: kick, leave, rekey, role. */
export function membershipRoutes({ rooms, life, log }: RoomsContext): Route[] {
  return [
    route(routes.rooms.removeMember, async (call) => {
      const { id, endpoint } = call.params;
      const membership = await rooms.member(id, call.caller.endpoint);
      const isSelf = endpoint === call.caller.endpoint;
      if (!isSelf) checkOwner(membership);
      const body = await call.read();
      if (body !== undefined) await life.rotate(membership, body, endpoint);
      else if (isSelf) await life.leave(membership);
      else throw new UnibusError("invalid", "a kick needs its statement and keys in the body (sign the next version)");
      audit(log, body === undefined ? "member_left" : "member_removed", call, { room_id: id, member: endpoint });
      return undefined;
    }),
    route(routes.rooms.rekey, async (call) => {
      const membership = await rooms.member(call.params.id, call.caller.endpoint);
      checkOwner(membership);
      const version = await life.rotate(membership, await call.read(), null);
      audit(log, "room_rekeyed", call, { room_id: call.params.id, version });
      return { version };
    }),
    route(routes.rooms.setRole, async (call) => {
      const membership = await rooms.member(call.params.id, call.caller.endpoint);
      checkOwner(membership);
      const { id, endpoint } = call.params;
      const body = await call.read();
      const version = await life.setRole(membership, body, endpoint);
      audit(log, "role_changed", call, { room_id: id, member: endpoint, role: body.role });
      return { version };
    }),
  ];
}
