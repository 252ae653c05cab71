/**
 * A server that answers each page of a list with another one, or with the same one for ever. The client follows no list
 * without end: not a room's statements, though every one of them is signed, nor its history, nor the list of rooms.
 * Source: docs/threat-model.md.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import type { Static } from "@sinclair/typebox";
import { messageById } from "../../src/cli/peer/since.ts";
import { Admin } from "../../src/client/admin.ts";
import { VerifiedKeys } from "../../src/client/crypto/verified-keys.ts";
import { Bus, connect, MemoryState } from "../../src/client/index.ts";
import { roomPages, roomPagesMax } from "../../src/client/rooms/room-list.ts";
import { ControlPlane } from "../../src/client/transport/control.ts";
import { planRepair } from "../../src/client/trust/repair.ts";
import { RoomTrust } from "../../src/client/trust/room-trust.ts";
import { type History, type RoomList, roomsMax } from "../../src/wire/api.ts";
import { newUlid } from "../../src/wire/ulid.ts";
import { Server } from "../support/executable.ts";
import { type Answer, HostileServer } from "../support/hostile-server.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { freshSubject, policy } from "../support/peer.ts";
import { failureOf } from "../support/trusting-peer.ts";
import { Story } from "../support/way-back.ts";

let server: Server;
let people: Cast<"ana" | "bob" | "mallory">;
let way: HostileServer;

beforeAll(async () => {
  server = await Server.start({ proxied: true, args: ["--set", "http.rate=100000"] });
  people = await castOf(server, "ana", "bob", "mallory");
  way = await HostileServer.start(server.ready.http);
});
afterEach(() => way.honest());
afterAll(async () => {
  await way[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

const json = (body: unknown): Answer => ({
  status: 200,
  headers: { "content-type": "application/json" },
  body: Buffer.from(JSON.stringify(body)),
});

/** Makes the server show a room, with `size` statements in a page, and always more of them unless `isEnd`. */
function show(
  story: Story,
  { size, from, isEnd = false }: { readonly size: number; readonly from?: number; readonly isEnd?: boolean },
): void {
  const { version, versions } = story;
  const all = versions.map(({ state, statement }) => ({ version: state.version, ...statement }));
  const { roomId: room_id, subject, epoch, policy: rules } = story.state;
  const view = { room_id, subject, epoch, policy: rules, created_at: new Date().toISOString(), version };
  const more = { role: "member", rekey_pending: false, stream: null, full: false, bytes_max: 1, when_full: "refuse" };
  way.pretend(({ method, target }) => {
    const [path = "", query] = target.split("?");
    if (method !== "GET" || !path.startsWith(`/rooms/${room_id}`)) return null;
    if (path.endsWith("/members")) return json({ version, members: story.members() });
    if (!path.endsWith("/statements")) return json({ ...view, ...more });
    const at = from ?? Number(new URLSearchParams(query).get("from"));
    return json({ statements: all.slice(at - 1, at - 1 + size), more: !isEnd });
  });
}

/** The parts of bob's client, with a fresh state. */
const partsOf = (statementsMax?: number) => ({
  ...{ control: new ControlPlane({ urls: [way.url], identity: people.bob }), state: new MemoryState() },
  ...{ vouched: new VerifiedKeys(), ...(statementsMax === undefined ? {} : { statementsMax }) },
});

/** Counts the requests of a kind. */
const asked = (kind: string): number => way.asked.filter((one) => one.includes(kind)).length;

describe("a client stops reading from a server", () => {
  test("that serves its own chain with ever more signed statements", async () => {
    const { mallory, bob } = people;
    const story = Story.of(mallory, policy("encrypt")).add(mallory, bob);
    for (let n = 0; n < 400; n++) story.role(mallory, bob, n % 2 === 0 ? "owner" : "member");
    show(story, { size: 100 });
    way.asked.length = 0;
    const error = await failureOf(() => RoomTrust.open(story.id, partsOf(250)));
    expect([error.code, error.message]).toEqual(["unavailable", expect.stringContaining("more than 250 new")]);
    expect(asked("/statements")).toBe(3);
  });

  test("that repeats the same statements when the client reads an older chain", async () => {
    const { ana, bob } = people;
    const story = Story.of(ana, policy("encrypt")).add(ana, bob).role(ana, bob, "owner");
    const parts = partsOf();
    // Bob's client has seen version 3.
    show(story, { size: 3, isEnd: true });
    await RoomTrust.open(story.id, parts);
    show(story.at(2), { size: 1, from: 1 });
    way.asked.length = 0;
    const bus = await Bus.connect({ urls: [way.url], identity: bob, state: parts.state, lazy: true });
    expect((await failureOf(() => bus.recovery.older(story.id))).code).toBe("room_forked");
    const repair = await planRepair(story.id, parts);
    expect(repair.busVersion).toBe(2);
    expect(asked("/statements")).toBeLessThan(10);
    await bus.close();
  });

  test("that repeats a page of history", async () => {
    const ana = await connect({ url: server.ready.http, identity: people.ana, state: "memory" });
    const made = await ana.createRoom(freshSubject(), "matrix");
    for (let n = 0; n < 3; n++) await made.send(`message ${n}`);
    const bus = await connect({ url: way.url, identity: people.ana, state: "memory", lazy: true });
    const room = await bus.room(made.id);
    let last: unknown;
    way.alter<Static<typeof History>>("/history", (page, { target }) => {
      if (!target.includes("before=")) last = { ...page, more: true };
      return last;
    });
    way.asked.length = 0;
    const error = await failureOf(() => messageById(bus, room, newUlid(Date.now()), new AbortController().signal));
    expect([error.code, asked("before=")]).toEqual(["not_found", 1]);
    await Promise.all([bus.close(), ana.close()]);
  });

  test("that invents rooms, page after page", async () => {
    const entry: Static<typeof RoomList>[number] = {
      ...{ room_id: "", subject: "room.made-up", epoch: 1, policy: policy(), role: "member", version: 1 },
      ...{ rekey_pending: false, stream: null, full: false, accepted: true, live: true, added_by: null },
    };
    let ms = 0;
    way.pretend(({ target }) => {
      if (!target.startsWith("/members/")) return null;
      return json(Array.from({ length: roomsMax }, () => ({ ...entry, room_id: newUlid(++ms) })));
    });
    let count = 0;
    const error = await failureOf(async () => {
      for await (const page of roomPages(partsOf().control)) count += page.length;
    });
    expect([error.code, count]).toEqual(["unavailable", roomPagesMax * roomsMax]);
  }, 60_000);

  test("that repeats or invents pages for an admin", async () => {
    const pagesMax = 9;
    const admin = new Admin(partsOf().control, pagesMax);
    const user = { ...{ endpoint: "A".repeat(43), kex_pub: null, kex_sig: null, handle: "x", role: "member" } };
    const lists = {
      "/admin/rooms": { list: () => admin.rooms(), cursor: (n: number) => String(n).padStart(26, "0"), row: null },
      "/admin/connections": { list: () => admin.connections(), cursor: String, row: null },
      "/admin/usage": { list: () => admin.usage(), cursor: (n: number) => String(n).padStart(64, "0"), row: null },
      "/users": { list: () => admin.users.list(), cursor: (n: number) => String(n).padStart(64, "0"), row: user },
    };
    for (const [path, { list, cursor, row }] of Object.entries(lists)) {
      for (const isRepeated of [true, false]) {
        let page = 0;
        way.pretend(({ target }) => {
          if (!target.startsWith(path)) return null;
          const next = cursor(isRepeated ? 8 : 8 + ++page);
          const times = { status: "active", created_at: "", revoked_at: null };
          if (row !== null) return json({ users: [{ ...row, ...times, sign_pub: next }], more: true });
          return json({ [path.split("/").at(-1) ?? ""]: [], next });
        });
        way.asked.length = 0;
        const error = await failureOf(() => Array.fromAsync(list() as AsyncIterable<unknown>));
        expect([path, error.code, asked(path)]).toEqual([path, "unavailable", isRepeated ? 2 : pagesMax]);
      }
    }
  });

  test("that lists too many or invalid addresses to dial", async () => {
    const nats = Array.from({ length: 5_000 }, (_, n) => `nats://127.0.0.1:${n + 1}`);
    const none = ["", "x", "nats://", "http://127.0.0.1:1", "nats://user:secret@127.0.0.1:1", "nats://127.0.0.1:99999"];
    way.alter<object>("/info", (info) => ({ ...info, nats: [...none, ...nats], ws: none }));
    const info = await partsOf().control.info();
    expect([info.nats, info.ws]).toEqual([nats.slice(0, 64), []]);
    way.alter<object>("/info", (info) => ({ ...info, nats: none, ws: none }));
    const error = await failureOf(() => connect({ url: way.url, identity: people.bob, state: "memory" }));
    expect(error.code).toBe("unavailable");
  });
});
