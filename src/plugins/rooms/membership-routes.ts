import { type Route, route } from "../../contracts/plugin.ts";
import { UnibusError } from "../../wire/errors.ts";
import { routes } from "../../wire/routes.ts";
import type { RoomsContext } from "./context.ts";
import { checkOwner } from "./members.ts";

/** The routes that change an existing room: kick, leave, rekey, role. */
export function membershipRoutes({ rooms, life }: RoomsContext): Route[] {
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
      return undefined;
    }),
    route(routes.rooms.rekey, async (call) => {
      const membership = await rooms.member(call.params.id, call.caller.endpoint);
      checkOwner(membership);
      return { version: await life.rotate(membership, await call.read(), null) };
    }),
    route(routes.rooms.setRole, async (call) => {
      const membership = await rooms.member(call.params.id, call.caller.endpoint);
      checkOwner(membership);
      return { version: await life.setRole(membership, await call.read(), call.params.endpoint) };
    }),
  ];
}
