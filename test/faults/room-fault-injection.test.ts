/**
 * Fault injection into creating, deleting and reading rooms and adding members: the Nth call of the store, of the
 * streams or of JetStream fails, before or after it takes effect, for every N. Afterwards a reader must see all of the
 * change or nothing, and a retry must complete it. room-change-fault-injection.test.ts covers the
 * later changes of a room.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { until } from "../support/executable.ts";
import type { FaultMoment } from "../support/faulty.ts";
import { FaultyBus, type Layer, type Scenario } from "../support/faulty-life.ts";
import type { InProcess } from "../support/in-process.ts";
import { type Cast, castOf } from "../support/inside.ts";
import {
  addBody,
  addMembers,
  call,
  createBody,
  createRoom,
  dial,
  freshSubject,
  history,
  newRoom,
  type OwnRoom,
  policy,
  type Reply,
} from "../support/peer.ts";

let bus: FaultyBus;
let running: InProcess;
let people: Cast<"ana" | "bob">;

beforeAll(async () => {
  bus = await FaultyBus.start();
  running = bus.running;
  people = await castOf(running.server, "ana", "bob");
});
afterAll(() => bus[Symbol.asyncDispose]());

const ask = (user: Identity, method: string, target: string, body?: unknown): Promise<Reply> =>
  call(running.server.ready.http, user, method, target, body);
const at = (room: OwnRoom, part = "") => `/rooms/${room.state.roomId}${part}`;

/** Returns everything that a user sees of a room, with each status. */
async function seen(user: Identity, room: OwnRoom) {
  const parts = ["", "/members", "/statements", "/key", "/history"];
  const replies = await Promise.all(parts.map((part) => ask(user, "GET", at(room, part))));
  const list = (await ask(user, "GET", `/members/${user.endpoint}/rooms`)).json as unknown as { room_id: string }[];
  return {
    statuses: [...new Set(replies.map(({ status }) => status))],
    isListed: list.some(({ room_id }) => room_id === room.state.roomId),
    members: replies[1]?.json as { version?: number; members?: unknown[] },
    statements: (replies[2]?.json.statements as unknown[] | undefined)?.length,
  };
}

/** Expects a frame that a plain NATS client publishes to appear in the history. */
async function expectCaptured(room: OwnRoom): Promise<void> {
  const ana = await dial(running.server, people.ana);
  const text = crypto.randomUUID();
  ana.publish(room.state.subject, text);
  await ana.flush();
  await ana.close();
  await until(
    "the frame is stored",
    async () => {
      const frames = await history(running.server, people.ana, room);
      return frames.some((frame) => frame.toString() === text);
    },
    2_000,
  );
}

const layers: readonly Layer[] = ["store", "streams", "jetstream"];
const moments: readonly FaultMoment[] = ["before", "after"];
const all = (test: (layer: Layer, moment: FaultMoment) => void) => {
  for (const layer of layers) for (const moment of moments) test(layer, moment);
};

const creation = async (): Promise<Scenario> => {
  const { ana } = people;
  const room = newRoom(ana, freshSubject(), policy("encrypt", "persist"));
  const body = createBody(room);
  const post = () => ask(ana, "POST", "/rooms", body);
  return {
    act: post,
    success: 201,
    async afterwards() {
      const isThere = (await ask(ana, "GET", at(room))).status === 200;
      // Must run first: reading the history would create a missing stream.
      if (isThere) await expectCaptured(room);
      const { statuses, isListed } = await seen(ana, room);
      expect([statuses, isListed]).toEqual([[isThere ? 200 : 404], isThere]);
      // A retry: an existing room is reported as a conflict, a missing one is created.
      const again = await post();
      expect([isThere, again.status]).toEqual([isThere, isThere ? 409 : 201]);
      const now = await seen(ana, room);
      expect(now).toMatchObject({ statuses: [200], isListed: true, statements: 1, members: { version: 1 } });
      expect(now.members.members).toHaveLength(1);
      await expectCaptured(room);
    },
  };
};

const addition = async (): Promise<Scenario> => {
  const { ana, bob } = people;
  const room = await createRoom(running.server, ana, policy("encrypt", "persist"));
  const { body } = addBody(room, bob);
  const post = () => ask(ana, "POST", at(room, "/members"), body);
  return {
    act: post,
    success: 201,
    async afterwards() {
      const [owner, added] = [await seen(ana, room), await seen(bob, room)];
      const isIn = added.isListed;
      expect(owner).toMatchObject({ statuses: [200], statements: isIn ? 2 : 1, members: { version: isIn ? 2 : 1 } });
      expect(owner.members.members).toHaveLength(isIn ? 2 : 1);
      expect(added.statuses).toEqual([isIn ? 200 : 403]);
      expect((await post()).status).toBe(isIn ? 409 : 201);
      expect(await seen(bob, room)).toMatchObject({ statuses: [200], isListed: true, statements: 2 });
    },
  };
};

const deletion = async (): Promise<Scenario> => {
  const { ana, bob } = people;
  const made = await createRoom(running.server, ana, policy("encrypt", "persist"));
  const room = await addMembers(running.server, made, bob);
  const remove = () => ask(ana, "DELETE", at(room));
  return {
    act: remove,
    success: 204,
    async afterwards() {
      for (const user of [ana, bob]) {
        const { statuses, isListed } = await seen(user, room);
        expect([
          [[410], false],
          [[200], true],
        ]).toContainEqual([statuses, isListed]);
      }
      expect([204, 410]).toContain((await remove()).status);
      for (const user of [ana, bob]) expect(await seen(user, room)).toMatchObject({ statuses: [410], isListed: false });
      // The subject is free again, and none of the old frames remain.
      const next = await createRoom(running.server, ana, policy("persist"), room.state.subject);
      expect(await history(running.server, ana, next)).toEqual([]);
      await expectCaptured(next);
      const again = await ask(
        ana,
        "POST",
        "/rooms",
        createBody(newRoom(ana, freshSubject(), policy(), room.state.roomId)),
      );
      expect([again.status, again.json.code]).toEqual([410, "gone"]);
    },
  };
};

const reading = async (): Promise<Scenario> => {
  const { ana } = people;
  const room = await createRoom(running.server, ana, policy("persist"));
  const nats = await dial(running.server, ana);
  const frames = ["one", "two", "three"].map((text) => Buffer.from(text));
  for (const frame of frames) await nats.request(room.state.subject, frame);
  await nats.close();
  return {
    act: () => ask(ana, "GET", at(room, "/history")),
    success: 200,
    async afterwards(reply) {
      if (reply.status === 200) expect(reply.json.messages).toHaveLength(frames.length);
      expect(await history(running.server, ana, room)).toEqual(frames);
    },
  };
};

describe("if any call fails, a reader sees all or nothing, and a repeated request completes:", () => {
  all((layer, moment) => {
    test(`POST /rooms, a call of ${layer} fails ${moment} it is made`, async () => {
      const failed = await bus.play("creation", layer, moment, creation);
      const expected = { store: "insertRoom", streams: "ensure", jetstream: "request" };
      expect(failed).toContain(expected[layer]);
    });

    test(`DELETE /rooms/{id}, a call of ${layer} fails ${moment} it is made`, async () => {
      const failed = await bus.play("deletion", layer, moment, deletion);
      const expected = { store: "purgeRoom", streams: "remove", jetstream: "request" };
      expect(failed).toContain(expected[layer]);
    });

    test(`GET /rooms/{id}/history, a call of ${layer} fails ${moment} it is made`, async () => {
      const failed = await bus.play("reading", layer, moment, reading);
      const expected = { store: "getStay", streams: "last", jetstream: "publish" };
      expect(failed).toContain(expected[layer]);
    });
  });

  for (const moment of moments) {
    test(`POST /rooms/{id}/members, a call of store fails ${moment} it is made`, async () => {
      expect(await bus.play("addition", "store", moment, addition)).toContain("applyChange");
    });
  }
});
