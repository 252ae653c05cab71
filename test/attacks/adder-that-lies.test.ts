/**
 * A server that names a trusted user as the adder of a room in which that user had no part. A client that accepts the
 * rooms of trusted adders by itself (`acceptFrom`) must not be led into such a room, whose owner could give it orders.
 * Source: docs/protocol/logins.md, docs/threat-model.md.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import type { Static } from "@sinclair/typebox";
import { type Bus, connect, type Invitation } from "../../src/client/index.ts";
import type * as api from "../../src/wire/api.ts";
import { Server, until } from "../support/executable.ts";
import { HostileServer } from "../support/hostile-server.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { freshSubject } from "../support/peer.ts";

let server: Server;
let people: Cast<"ana" | "mallory" | "worker">;
let way: HostileServer;

beforeAll(async () => {
  server = await Server.start({ proxied: true, args: ["--set", "http.rate=100000"] });
  people = await castOf(server, "ana", "mallory", "worker");
  way = await HostileServer.start(server.ready.http);
});
afterEach(() => way.honest());
afterAll(async () => {
  await way[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

/** The room lists of the server name ana as the adder of every room. */
const namesAna = () =>
  way.alter<Static<typeof api.RoomList>>("/rooms", (rooms) =>
    rooms.map((room) => ({ ...room, added_by: people.ana.endpoint })),
  );

async function roomOf(owner: "ana" | "mallory", ...others: readonly ("ana" | "worker")[]) {
  const bus = await connect({ url: server.ready.http, identity: people[owner], state: "memory", settles: false });
  const room = await bus.createRoom(freshSubject(), "matrix");
  for (const other of others) await room.membership.add(people[other].endpoint);
  return { bus, room };
}

/** The worker's client, which accepts ana's rooms, with what it reports. */
async function worker() {
  const invitations: Invitation[] = [];
  const troubles: string[] = [];
  const bus: Bus = await connect({
    ...{ url: way.url, identity: people.worker, state: "memory" },
    acceptFrom: [people.ana.endpoint],
  });
  bus.on("invited", (invitation) => invitations.push(invitation));
  bus.on("trouble", (error) => troubles.push(String((error as Error).message)));
  return { bus, invitations, troubles };
}

describe("a server that names a trusted adder", () => {
  test("of a stranger's room cannot make the client accept it", async () => {
    const stranger = await roomOf("mallory", "worker");
    // As a plain member or an owner ana is in the room, without having signed anything.
    const member = await roomOf("mallory", "ana", "worker");
    await member.room.membership.setRole(people.ana.endpoint, "owner");
    const anas = await roomOf("ana", "worker");
    namesAna();
    const { bus, invitations, troubles } = await worker();
    const rooms = [stranger, member, anas].map(({ room }) => room.id);
    await until("all are reported", () => rooms.every((id) => invitations.some(({ roomId }) => roomId === id)));
    expect(rooms.map((id) => invitations.find(({ roomId }) => roomId === id)?.accepted)).toEqual([false, false, true]);
    for (const id of rooms.slice(0, 2)) {
      const what = `the bus says that ${people.ana.endpoint} added you to room ${id}, but they signed nothing in it`;
      expect(troubles.filter((trouble) => trouble.includes(what))).toHaveLength(1);
    }
    const accepted = (await bus.rooms()).filter((one) => one.accepted).map(({ id }) => id);
    expect(accepted).toEqual([anas.room.id]);
    await Promise.all([bus, stranger.bus, member.bus, anas.bus].map((one) => one.close()));
  }, 60_000);
});
