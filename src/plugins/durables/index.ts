/** Durables: a member's device receives the messages it missed since its last ack. The server owns the consumers. */
import { Type } from "@sinclair/typebox";
import { Nats } from "../../contracts/nats.ts";
import { Notices } from "../../contracts/notices.ts";
import { definePlugin, route } from "../../contracts/plugin.ts";
import { Rooms } from "../../contracts/rooms.ts";
import { changeStay, withDevice, withoutDevice } from "../../contracts/stay-rules.ts";
import { type Membership, RoomStore } from "../../contracts/store.ts";
import { type Durable, RoomStreams } from "../../contracts/streams.ts";
import { UnibusError } from "../../wire/errors.ts";
import { mainDevice } from "../../wire/names.ts";
import { routes } from "../../wire/routes.ts";

/** How often a durable is recreated because a parallel request removed it. */
const attemptsMax = 20;

function checkPersisted({ room }: Membership): void {
  if (room.policy.persist) return;
  throw new UnibusError("conflict", "this room is not persisted, so it has no durables (subscribe to it)");
}

/** Checks that the member accepted the room: otherwise it is not in the grant, and the member could not ack. */
function checkAccepted({ room, stay }: Membership): void {
  if (stay.acceptedAt !== null) return;
  throw new UnibusError("conflict", `you have not accepted this room (PUT /rooms/${room.roomId}/accept first)`);
}

/** Serves PUT and DELETE /rooms/{id}/durable. */
export default definePlugin({
  name: "durables",
  api: 1,
  config: Type.Object({}, { additionalProperties: false }),
  requires: { rooms: Rooms, store: RoomStore, streams: RoomStreams },
  optional: { nats: Nats },
  routes: Object.values(routes.durables),
  async setup(_, { rooms, store, streams, nats }) {
    const notices = new Notices(nats);

    /** Creates or finds a device's durable. Returns null if the device was removed in the meantime. */
    const attempt = async (
      { room, stay }: Membership,
      device: string,
    ): Promise<{ readonly bound: Durable; readonly isNew: boolean } | null> => {
      const { roomId } = room;
      const { endpoint } = stay;
      const added = await changeStay(store, { roomId, endpoint, known: stay }, withDevice(device));
      const isNew = added !== null;
      await streams.ensure(room);
      const bound = await streams.bind(room, endpoint, device, isNew);
      return bound && { bound, isNew };
    };

    const bind = async (roomId: string, endpoint: string, device: string): Promise<Durable> => {
      for (let tries = 0; tries < attemptsMax; tries++) {
        const membership = await rooms.member(roomId, endpoint);
        checkPersisted(membership);
        checkAccepted(membership);
        const made = await attempt(membership, device).catch(async (error: unknown) => {
          // If the room was deleted or left in the meantime, that is the answer.
          await rooms.member(roomId, endpoint);
          throw error;
        });
        if (made === null) continue;
        // A connection may ack only for the devices that existed when it logged in, so the peer must reconnect.
        if (made.isNew) notices.notify([endpoint], "durable", roomId);
        return made.bound;
      }
      throw new UnibusError("unavailable", "this durable keeps being removed (try again)");
    };

    return {
      services: {},
      routes: [
        route(routes.durables.bind, async ({ params, query, caller }) =>
          bind(params.id, caller.endpoint, query.device ?? mainDevice),
        ),
        route(routes.durables.unbind, async ({ params, query, caller }) => {
          const membership = await rooms.member(params.id, caller.endpoint);
          checkPersisted(membership);
          const device = query.device ?? mainDevice;
          await changeStay(store, { roomId: params.id, endpoint: caller.endpoint }, withoutDevice(device));
          try {
            await streams.unbind(membership.room, caller.endpoint, device);
          } catch (error) {
            // The device is already removed, so its consumer must follow, whatever this request returns.
            streams.settle(membership.room);
            throw error;
          }
          return undefined;
        }),
      ],
    };
  },
});
