/**
 * The client accepts a room when the application first uses it, reports rooms it was added to, and accepts rooms from
 * trusted adders by itself (`acceptFrom`). Source: docs/protocol/logins.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { VerifiedKeys } from "../../src/client/crypto/verified-keys.ts";
import { connect, type Invitation } from "../../src/client/index.ts";
import { Acceptances } from "../../src/client/rooms/acceptances.ts";
import { RoomTrust } from "../../src/client/trust/room-trust.ts";
import { MemoryState } from "../../src/client/trust/state.ts";
import { Server, until } from "../support/executable.ts";
import { type Cast, castOf, inside } from "../support/inside.ts";
import { freshSubject, postUser } from "../support/peer.ts";

let server: Server;
let people: Cast<"ana" | "bob">;

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=1000000"] });
  people = await castOf(server, "ana", "bob");
});
afterAll(() => server[Symbol.asyncDispose]());

describe("the client's acceptance of rooms", () => {
  /** A bus client of a new user, and a room that ana added the user to. */
  async function invited(name: string, options: { readonly acceptFrom?: readonly string[] } = {}) {
    const identity = await postUser(server, people.admin, name);
    const bus = await connect({ url: server.ready.http, identity, state: "memory", ...options });
    const owner = await connect({ url: server.ready.http, identity: people.ana, state: "memory" });
    const theirs = await owner.createRoom(freshSubject(), "matrix");
    await theirs.membership.add(identity.endpoint);
    const isAccepted = async () => (await bus.rooms()).find(({ id }) => id === theirs.id)?.accepted;
    return { bus, owner, theirs, isAccepted, close: () => Promise.all([bus.close(), owner.close()]) };
  }

  const uses = {
    "to subscribe": async (scene: Awaited<ReturnType<typeof invited>>) => {
      const got: string[] = [];
      await (await scene.bus.room(scene.theirs.subject)).onMessage(({ text }) => got.push(text));
      await scene.theirs.send("hello");
      await until("the message is received", () => got.includes("hello"));
    },
    "to send": async ({ bus, theirs }: Awaited<ReturnType<typeof invited>>) => {
      await (await bus.room(theirs.id)).send("hello");
    },
    "to request": async ({ bus, theirs }: Awaited<ReturnType<typeof invited>>) => {
      const stop = await theirs.respond(({ text }) => `${text}!`);
      expect((await (await bus.room(theirs.subject)).request("hello")).text).toBe("hello!");
      stop();
    },
    "by a durable": async ({ bus, theirs }: Awaited<ReturnType<typeof invited>>) => {
      const got: string[] = [];
      await theirs.send("kept");
      await using _ = await (await bus.room(theirs.id)).durable(({ text }) => got.push(text));
      await until("the message is delivered", () => got.includes("kept"));
    },
  };

  for (const [how, use] of Object.entries(uses)) {
    test(`accepts a room that the application opens ${how}`, async () => {
      const scene = await invited(`uses ${how}`);
      expect(await scene.isAccepted()).toBe(false);
      await use(scene);
      expect(await scene.isAccepted()).toBe(true);
      await scene.close();
    }, 30_000);
  }

  test("accepts a trusted owner's room again after a kick, once the interval is over, without another notice", async () => {
    const scene = await invited("comes back");
    const { bus, owner, theirs } = scene;
    const closing = new AbortController();
    const [state, vouched] = [new MemoryState(), new VerifiedKeys()];
    const invitations: Invitation[] = [];
    const acceptances = new Acceptances({
      ...{ control: bus.control, state, signal: closing.signal, againAfterMs: 2_000 },
      refresh: async (roomId) => (await RoomTrust.open(roomId, { control: bus.control, state, vouched })).room,
      acceptFrom: new Set([owner.identity.endpoint]),
      connect: async () => undefined,
      reconnect: async () => undefined,
      hasListeners: () => true,
      onInvited: (invitation) => invitations.push(invitation),
      onTrouble: (error) => invitations.push(error as never),
    });
    await acceptances.look();
    expect(await scene.isAccepted()).toBe(true);
    await theirs.membership.kick(bus.identity.endpoint);
    await theirs.membership.add(bus.identity.endpoint);
    await acceptances.look();
    expect(await scene.isAccepted()).toBe(false);
    await until("the room is accepted again", async () => (await scene.isAccepted()) === true);
    expect(invitations.map(({ accepted }) => accepted)).toEqual([true, true]);
    closing.abort();
    await scene.close();
  }, 30_000);

  test("is not triggered by a list, a read or a notice", async () => {
    const scene = await invited("reads");
    const { bus, theirs } = scene;
    await theirs.send("before");
    await bus.rooms();
    const room = await bus.room(theirs.subject);
    expect((await room.history()).messages.map(({ text }) => text)).toEqual(["before"]);
    expect(room.members).toHaveLength(2);
    await theirs.membership.rekey();
    await until("the client has the new key", async () => (await room.refresh()).state.epoch === 2);
    expect(await scene.isAccepted()).toBe(false);
    await bus.accept(theirs.id);
    expect(await scene.isAccepted()).toBe(true);
    await scene.close();
  }, 30_000);

  test("lets a new device of an open connection acknowledge, so that no message comes twice", async () => {
    const scene = await invited("device");
    const { bus, theirs } = scene;
    await bus.accept(theirs.id);
    for (let n = 0; n < 40; n++) await theirs.send(`kept ${n}`);
    const got: string[] = [];
    const durable = await (await bus.room(theirs.id)).durable(({ text }) => got.push(text));
    // More messages than the bus sends without an ack, so all arrive only if acks work.
    await until("all messages are delivered", () => got.length >= 40, 8_000);
    const system = await inside(server);
    const name = `${theirs.id}_${bus.identity.endpoint.replaceAll(/[^A-Za-z0-9_]/g, "_")}`;
    await until("all messages are acknowledged", async () => {
      const reply = await system.request(`$JS.API.CONSUMER.INFO.UNIBUS_${theirs.id}.${name}`);
      return reply.json<{ num_ack_pending: number }>().num_ack_pending === 0;
    });
    expect(got).toEqual(Array.from({ length: 40 }, (_, n) => `kept ${n}`));
    await durable.close();
    await Promise.all([system.close(), scene.close()]);
  }, 30_000);

  test("reports invitations, and accepts those of trusted users at once", async () => {
    const { bus, owner, theirs, close } = await invited("worker", { acceptFrom: [people.ana.endpoint] });
    const reported: Invitation[] = [];
    bus.on("invited", (invitation) => reported.push(invitation));
    const other = await connect({ url: server.ready.http, identity: people.bob, state: "memory" });
    const refused = await other.createRoom(freshSubject(), "nats");
    await refused.membership.add(bus.identity.endpoint);
    const taken = await owner.createRoom(freshSubject(), "nats");
    await taken.membership.add(bus.identity.endpoint);
    await until(
      "both invitations are reported",
      () => reported.length >= 2 && reported.some(({ roomId }) => roomId === taken.id),
    );
    const of = (id: string) => reported.filter(({ roomId }) => roomId === id);
    expect(of(refused.id)).toEqual([
      { roomId: refused.id, subject: refused.subject, addedBy: people.bob.endpoint, accepted: false },
    ]);
    expect(of(taken.id)).toEqual([
      { roomId: taken.id, subject: taken.subject, addedBy: people.ana.endpoint, accepted: true },
    ]);
    const rooms = new Map((await bus.rooms()).map(({ id, accepted }) => [id, accepted]));
    expect([rooms.get(refused.id), rooms.get(taken.id), rooms.get(theirs.id)]).toEqual([false, true, true]);
    await Promise.all([close(), other.close()]);
  }, 30_000);

  test("happens automatically once in 30 s for one room, however often the user is added and removed", async () => {
    const scene = await invited("looped");
    const { bus, theirs } = scene;
    await (await bus.room(theirs.subject)).send("first");
    await theirs.membership.kick(bus.identity.endpoint);
    await theirs.membership.add(bus.identity.endpoint);
    await until("the client has read that it was removed", async () => {
      return (await bus.room(theirs.id)).members.some(({ endpoint }) => endpoint === bus.identity.endpoint);
    });
    await expect((await bus.room(theirs.id)).send("second", { timeoutMs: 3_000 })).rejects.toBeDefined();
    expect(await scene.isAccepted()).toBe(false);
    // An explicit accept works immediately.
    await bus.accept(theirs.id);
    await (await bus.room(theirs.id)).send("third");
    await scene.close();
  }, 30_000);
});
