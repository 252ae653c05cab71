import { audit } from "../../contracts/audit.ts";
import { type Route, route } from "../../contracts/plugin.ts";
import { UnibusError } from "../../wire/errors.ts";
import { routes } from "../../wire/routes.ts";
import { gone, type RoomsContext } from "./context.ts";
import { createRoom } from "./create.ts";
import { checkMayDelete } from "./members.ts";
import { notifyMembers } from "./membership.ts";
import { membershipReply, roomReply } from "./replies.ts";

/** The routes that create, read and delete rooms. */
export function roomRoutes(parts: RoomsContext): Route[] {
  const { store, streams, rooms, rules, capacity, notices, denials, log } = parts;
  const clear = async (roomId: string): Promise<void> => {
    const members = (await store.listStays(roomId)).filter(({ until }) => until === 0);
    notifyMembers(notices, members, "deleted", roomId);
    await streams?.remove(roomId);
    await store.purgeRoom(roomId);
    rules.quotas.rows.forget();
  };
  return [
    route(routes.rooms.create, async (call) => {
      const room = await createRoom(await call.read(), call.caller, rules);
      audit(log, "room_created", call, { room_id: room.roomId, subject: room.subject });
      return roomReply(room);
    }),
    route(routes.rooms.get, async (call) => {
      const membership = await rooms.member(call.params.id, call.caller.endpoint);
      const { bytesMax, whenFull } = capacity;
      return {
        ...roomReply(membership.room),
        ...membershipReply(membership, streams),
        bytes_max: bytesMax,
        when_full: whenFull,
      };
    }),
    route(routes.rooms.delete, async (call) => {
      const { id } = call.params;
      const found = await store.getRoom(id);
      if (found === null) throw new UnibusError("not_found", "no such room");
      if (found.deletedAt !== null) {
        // An interrupted deletion still holds the subject: repeating the request completes it.
        if ((await store.findRoomId(found.subject)) === id) await clear(id);
        throw gone();
      }
      checkMayDelete(await store.getStay(id, call.caller.endpoint), call.caller);
      await denials?.note("room-deleted", id);
      if (!(await store.markDeleted(id, rules.now()))) throw gone();
      audit(log, "room_deleted", call, { room_id: id, subject: found.subject });
      await clear(id);
      return undefined;
    }),
  ];
}
