/**
 * Fault injection into the changes of a room (kick, rekey, leave, role, deletion): the Nth call of the store, of the
 * streams or of JetStream fails, before or after it takes effect, for every N. Afterwards no reader may see a partial
 * change, the durables must match the members, and a retry must complete the change. Source: docs/protocol/rooms.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { consumerName, streamName } from "../../src/wire/names.ts";
import { until } from "../support/executable.ts";
import type { FaultMoment } from "../support/faulty.ts";
import { FaultyBus, type Layer, type Scenario } from "../support/faulty-life.ts";
import { type Cast, castOf, inside, jetStream } from "../support/inside.ts";
import {
  addMembers,
  at,
  call,
  createRoom,
  kickBody,
  type OwnRoom,
  policy,
  type Reply,
  roleBody,
  setRole,
} from "../support/peer.ts";

let bus: FaultyBus;
let people: Cast<"ana" | "bob" | "cleo">;
let nats: NatsConnection;

beforeAll(async () => {
  bus = await FaultyBus.start();
  people = await castOf(bus.running.server, "ana", "bob", "cleo");
  nats = await inside(bus.running.server);
});
afterAll(async () => {
  console.log(bus.table.join("\n"));
  await nats.close();
  await bus[Symbol.asyncDispose]();
});

const ask = (who: Identity, method: string, target: string, body?: unknown): Promise<Reply> =>
  call(bus.running.server.ready.http, who, method, target, body);

type Line = { endpoint: string; role: string; until: number; left: boolean };

/** Returns a room as a user sees it, or null. Throws if the parts do not belong to one version. */
async function seen(who: Identity, room: OwnRoom) {
  const parts = ["", "/members", "/statements", "/key", "/history"];
  const [view, members, statements, key, history] = await Promise.all(
    parts.map((part) => ask(who, "GET", at(room, part))),
  );
  const list = (await ask(who, "GET", `/members/${who.endpoint}/rooms`)).json as unknown as { room_id: string }[];
  const isListed = list.some(({ room_id }) => room_id === room.state.roomId);
  const statuses = [view, members, statements, key, history].map((reply) => reply?.status);
  expect(new Set(statuses).size).toBe(1);
  expect(isListed).toBe(view?.status === 200);
  if (view?.status !== 200) return { status: view?.status, version: 0, epoch: 0, owners: 0, pending: false };
  const { version, epoch, rekey_pending } = view.json;
  const stays = members?.json.members as Line[];
  const owners = stays.filter((stay) => stay.role === "owner" && stay.until === 0 && !stay.left).length;
  expect([members?.json.version, (statements?.json.statements as unknown[] | undefined)?.length]).toEqual([
    version,
    version,
  ]);
  expect(key?.json.epoch).toBe(epoch);
  expect(stays.some((stay) => stay.left && stay.until === 0)).toBe(rekey_pending as boolean);
  return { status: 200, version, epoch, owners, pending: rekey_pending };
}

/** Creates a room of ana, bob and cleo in which bob and cleo have a durable. */
async function busyRoom(): Promise<OwnRoom> {
  const { ana, bob, cleo } = people;
  const { server } = bus.running;
  const room = await addMembers(server, await createRoom(server, ana, policy("encrypt", "persist")), bob, cleo);
  for (const who of [bob, cleo]) expect((await ask(who, "PUT", at(room, "/durable"))).status).toBe(200);
  return room;
}

/** Waits until exactly these members have a durable. */
async function expectDurables({ state }: OwnRoom, ...members: readonly Identity[]): Promise<void> {
  const wanted = members.map(({ endpoint }) => consumerName(state.roomId, endpoint)).sort();
  await until(
    `the durables are those of ${members.length} members`,
    async () => {
      const subject = `CONSUMER.NAMES.${streamName(state.roomId)}`;
      const { consumers } = await jetStream<{ consumers?: string[] | null }>(nats, subject);
      return Bun.deepEquals([...(consumers ?? [])].sort(), wanted);
    },
    5_000,
  );
}

const scenarios: Readonly<Record<string, () => Promise<Scenario>>> = {
  async kick() {
    const { ana, bob, cleo } = people;
    const room = await busyRoom();
    const { body } = kickBody(room, [bob], [ana, cleo]);
    const act = () => ask(ana, "DELETE", at(room, `/members/${bob.endpoint}`), body);
    return {
      act,
      success: 204,
      async afterwards() {
        const isDone = (await seen(bob, room)).status === 403;
        const state = isDone ? { version: 3, epoch: 2 } : { version: 2, epoch: 1 };
        for (const who of [ana, cleo]) expect(await seen(who, room)).toMatchObject(state);
        expect((await act()).status).toBe(isDone ? 409 : 204);
        for (const who of [ana, cleo]) expect(await seen(who, room)).toMatchObject({ version: 3, epoch: 2 });
        expect((await seen(bob, room)).status).toBe(403);
        await expectDurables(room, cleo);
      },
    };
  },

  async rekey() {
    const { ana, bob, cleo } = people;
    const room = await busyRoom();
    expect((await ask(bob, "DELETE", at(room, `/members/${bob.endpoint}`))).status).toBe(204);
    const { body } = kickBody(room, [bob], [ana, cleo]);
    const act = () => ask(ana, "POST", at(room, "/rekey"), body);
    return {
      act,
      success: 200,
      async afterwards() {
        const { version } = await seen(ana, room);
        const isDone = version === 3;
        const state = isDone ? { version: 3, epoch: 2, pending: false } : { version: 2, epoch: 1, pending: true };
        for (const who of [ana, cleo]) expect(await seen(who, room)).toMatchObject(state);
        expect((await act()).status).toBe(isDone ? 409 : 200);
        for (const who of [ana, cleo]) expect(await seen(who, room)).toMatchObject({ version: 3, pending: false });
        await expectDurables(room, cleo);
      },
    };
  },

  async leave() {
    const { ana, bob, cleo } = people;
    const room = await busyRoom();
    const act = () => ask(bob, "DELETE", at(room, `/members/${bob.endpoint}`));
    return {
      act,
      success: 204,
      async afterwards() {
        const isDone = (await seen(bob, room)).status === 403;
        for (const who of [ana, cleo]) expect(await seen(who, room)).toMatchObject({ version: 2, pending: isDone });
        expect((await act()).status).toBe(isDone ? 403 : 204);
        for (const who of [ana, cleo]) expect(await seen(who, room)).toMatchObject({ version: 2, pending: true });
        expect((await seen(bob, room)).status).toBe(403);
        await expectDurables(room, cleo);
      },
    };
  },

  async role() {
    const { ana, bob, cleo } = people;
    const room = await setRole(bus.running.server, await busyRoom(), cleo, "owner");
    const { body } = roleBody(room, bob, "owner");
    const act = () => ask(ana, "PUT", at(room, `/members/${bob.endpoint}/role`), body);
    return {
      act,
      success: 200,
      async afterwards() {
        const { version } = await seen(ana, room);
        const isDone = version === 4;
        for (const who of [ana, bob, cleo]) {
          expect(await seen(who, room)).toMatchObject({ version: isDone ? 4 : 3, owners: isDone ? 3 : 2 });
        }
        expect((await act()).status).toBe(isDone ? 409 : 200);
        for (const who of [ana, bob, cleo]) expect(await seen(who, room)).toMatchObject({ version: 4, owners: 3 });
      },
    };
  },

  async delete() {
    const { ana, bob, cleo } = people;
    const room = await busyRoom();
    const act = () => ask(ana, "DELETE", at(room));
    return {
      act,
      success: 204,
      async afterwards() {
        const states = await Promise.all([ana, bob, cleo].map((who) => seen(who, room)));
        expect([200, 410]).toContain(states[0]?.status ?? 0);
        expect(new Set(states.map(({ status }) => status)).size).toBe(1);
        expect([204, 410]).toContain((await act()).status);
        for (const who of [ana, bob, cleo]) expect((await seen(who, room)).status).toBe(410);
        await expectDurables(room);
        await createRoom(bus.running.server, ana, policy("persist"), room.state.subject);
      },
    };
  },
};

/** Calls that must be among the failed ones, for scenarios that make calls of that layer. */
const expected: Readonly<Record<string, Partial<Record<Layer, string>>>> = {
  kick: { store: "applyChange", jetstream: "publish" },
  rekey: { store: "applyChange", jetstream: "publish" },
  leave: { store: "replaceStay", jetstream: "publish" },
  role: { store: "applyChange", jetstream: "publish" },
  delete: { store: "purgeRoom", streams: "remove", jetstream: "request" },
};

const moments: readonly FaultMoment[] = ["before", "after"];

for (const [name, prepare] of Object.entries(scenarios)) {
  describe(`a ${name} of which one call fails`, () => {
    for (const layer of Object.keys(expected[name] ?? {}) as Layer[]) {
      for (const moment of moments) {
        test(`of ${layer}, ${moment} it is made, takes effect completely or not at all`, async () => {
          expect(await bus.play(name, layer, moment, prepare)).toContain(expected[name]?.[layer] ?? "");
        }, 30_000);
      }
    }
  });
}
