import { type Route, route } from "../../contracts/plugin.ts";
import * as api from "../../wire/api.ts";
import { UnibusError } from "../../wire/errors.ts";
import type { RoomsContext } from "./context.ts";
import { checkOwner } from "./members.ts";

/** The routes that change an existing room: kick, leave, rekey, role. */
export function membershipRoutes({ rooms, life }: RoomsContext): Route[] {
  const errors = ["forbidden", "not_found", "gone", "conflict", "quota"] as const;
  const member = { params: api.MemberParams, errors };
  return [
    route(
      "DELETE",
      "/rooms/:id/members/:endpoint",
      "signed",
      {
        summary: "Kicks a member (owners, with a body), or leaves the room (your own endpoint, without one)",
        ...member,
        body: api.Rotate,
        bodyOptional: true,
        space: "departs",
      },
      async (call) => {
        const { id, endpoint } = call.params;
        const membership = await rooms.member(id, call.caller.endpoint);
        const isSelf = endpoint === call.caller.endpoint;
        if (!isSelf) checkOwner(membership);
        const body = await call.read();
        if (body !== undefined) await life.rotate(membership, body, endpoint);
        else if (isSelf) await life.leave(membership);
        else
          throw new UnibusError("invalid", "a kick needs its statement and keys in the body (sign the next version)");
        return undefined;
      },
    ),
    route(
      "POST",
      "/rooms/:id/rekey",
      "signed",
      {
        ...{
          summary: "Starts a new epoch with a new room key",
          params: api.RoomParams,
          errors,
          body: api.Rotate,
          reply: api.Members,
        },
        // Whether it completes leaves, only the rule can tell.
        space: "judged",
      },
      async (call) => {
        const membership = await rooms.member(call.params.id, call.caller.endpoint);
        checkOwner(membership);
        return { version: await life.rotate(membership, await call.read(), null) };
      },
    ),
    route(
      "PUT",
      "/rooms/:id/members/:endpoint/role",
      "signed",
      { summary: "Makes a member an owner, or an owner a member", ...member, body: api.SetRole, reply: api.Members },
      async (call) => {
        const membership = await rooms.member(call.params.id, call.caller.endpoint);
        checkOwner(membership);
        return { version: await life.setRole(membership, await call.read(), call.params.endpoint) };
      },
    ),
  ];
}
