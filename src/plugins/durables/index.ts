/** Durables: a member's device gets what it missed, from its last ack on. The server owns the consumers. */
import { Type } from "@sinclair/typebox";
import { Nats } from "../../contracts/nats.ts";
import { Notices } from "../../contracts/notices.ts";
import { definePlugin, route } from "../../contracts/plugin.ts";
import { Rooms } from "../../contracts/rooms.ts";
import { withDevice, withoutDevice } from "../../contracts/stay-rules.ts";
import { type Membership, RoomStore } from "../../contracts/store.ts";
import { type Durable, RoomStreams } from "../../contracts/streams.ts";
import { DeviceQuery, DurableBound, RoomParams } from "../../wire/api.ts";
import { UnibusError } from "../../wire/errors.ts";
import { mainDevice } from "../../wire/names.ts";

const shape = {
  params: RoomParams,
  query: DeviceQuery,
  errors: ["forbidden", "not_found", "gone", "conflict", "quota"],
} as const;

function checkPersisted({ room }: Membership): void {
  if (room.policy.persist) return;
  throw new UnibusError("conflict", "this room keeps no messages, so there is nothing to resume (subscribe to it)");
}

/** What is not accepted is not in the grant of its member, who could not acknowledge anything. */
function checkAccepted({ room, stay }: Membership): void {
  if (stay.acceptedAt !== null) return;
  throw new UnibusError("conflict", `you have not accepted this room (PUT /rooms/${room.roomId}/accept first)`);
}

/** Answers PUT and DELETE /rooms/{id}/durable. */
export default definePlugin({
  name: "durables",
  api: 1,
  config: Type.Object({}, { additionalProperties: false }),
  requires: { rooms: Rooms, store: RoomStore, streams: RoomStreams },
  optional: { nats: Nats },
  async setup(_, { rooms, store, streams, nats }) {
    const notices = new Notices(nats);

    const bind = async ({ room, stay }: Membership, device: string): Promise<Durable> => {
      const { roomId } = room;
      const { endpoint, devices } = stay;
      const isNew = !devices.includes(device);
      if (isNew) await store.changeStay(roomId, endpoint, withDevice(device));
      await streams.ensure(room);
      const bound = await streams.bind(room, endpoint, device);
      try {
        await rooms.member(roomId, endpoint);
      } catch (error) {
        // They left, or were kicked, meanwhile: then that wins.
        streams.settle(room);
        throw error;
      }
      // A connection may acknowledge for the devices that existed when it logged in: the peer has to connect again.
      if (isNew) notices.tell([endpoint], "durable", roomId);
      return bound;
    };

    return {
      services: {},
      routes: [
        route(
          "PUT",
          "/rooms/:id/durable",
          "signed",
          { summary: "Makes or finds the durable of one's own device", ...shape, reply: DurableBound },
          async ({ params, query, caller }) => {
            const membership = await rooms.member(params.id, caller.endpoint);
            checkPersisted(membership);
            checkAccepted(membership);
            return bind(membership, query.device ?? mainDevice);
          },
        ),
        route(
          "DELETE",
          "/rooms/:id/durable",
          "signed",
          { summary: "Removes the durable of one's own device", space: "frees", ...shape },
          async ({ params, query, caller }) => {
            const membership = await rooms.member(params.id, caller.endpoint);
            checkPersisted(membership);
            await store.changeStay(params.id, caller.endpoint, withoutDevice(query.device ?? mainDevice));
            streams.settle(membership.room);
            return undefined;
          },
        ),
      ],
    };
  },
});
