/**
 * A member reads another member's sealed key, and a stranger reads a room that they are not in.
 * Source: docs/reference/http.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { signatureHeaders } from "../../src/wire/sign.ts";
import { Server } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import {
  addBody,
  addMembers,
  call,
  createRoom,
  dial,
  type OwnRoom,
  policy,
  send,
  signedHeaders,
} from "../support/peer.ts";

let server: Server;
let people: Cast<"ana" | "bob" | "eve">;
let room: OwnRoom;

beforeAll(async () => {
  server = await Server.start();
  people = await castOf(server, "ana", "bob", "eve");
  const made = await createRoom(server, people.ana, policy("encrypt", "persist", "sign_msgs"));
  room = await addMembers(server, made, people.bob);
  const ana = await dial(server, people.ana);
  await ana.request(room.state.subject, "frame of the room");
  await ana.close();
});
afterAll(() => server[Symbol.asyncDispose]());

const get = (user: Identity, target: string) => call(server.ready.http, user, "GET", target);
const keyOf = async (user: Identity) => (await get(user, `/rooms/${room.state.roomId}/key`)).json.sealed_key as string;

describe("a sealed key", () => {
  test("is specific to its member, and opens for them only", async () => {
    const { ana, bob } = people;
    const [forAna, forBob] = await Promise.all([keyOf(ana), keyOf(bob)]);
    expect(forAna).not.toBe(forBob);
    expect(await ana.openRoomKey(forAna)).toEqual(room.key);
    expect(await bob.openRoomKey(forBob)).toEqual(room.key);
    expect(await bob.openRoomKey(forAna)).toBeNull();
    expect(await people.eve.openRoomKey(forBob)).toBeNull();
  });

  test("of another member is returned for no query, header or path", async () => {
    const { ana, bob } = people;
    const [forAna, forBob] = await Promise.all([keyOf(ana), keyOf(bob)]);
    const base = `/rooms/${room.state.roomId}/key`;
    const queries = [`endpoint=${ana.endpoint}`, `epoch=1&endpoint=${ana.endpoint}`, `sign_pub=${ana.signPubHex}`];
    for (const query of queries) expect((await get(bob, `${base}?${query}`)).json.sealed_key).toBe(forBob);
    for (const target of [`${base}/${ana.endpoint}`, `/rooms/${room.state.roomId}/keys`, `${base}s`]) {
      expect((await get(bob, target)).status).toBe(404);
    }
    const url = server.ready.http;
    const headers = signedHeaders(bob, { url, method: "GET", target: base });
    const posing = { ...headers, [signatureHeaders.pub]: ana.signPubHex };
    expect((await send(`${url}${base}`, { headers: posing })).status).toBe(401);
    const two = { ...headers, [signatureHeaders.pub]: `${bob.signPubHex}, ${ana.signPubHex}` };
    expect((await send(`${url}${base}`, { headers: two })).status).toBe(401);
    for (const target of [`/rooms/${room.state.roomId}`, `/rooms/${room.state.roomId}/members`, "/directory"]) {
      const { text } = await get(bob, target);
      expect(text).not.toContain(forAna);
      expect(text).not.toContain(forBob);
    }
  });

  test("of an epoch that one has no key for, or that is invalid: 404, 400", async () => {
    const base = `/rooms/${room.state.roomId}/key`;
    expect((await get(people.bob, `${base}?epoch=2`)).status).toBe(404);
    for (const epoch of ["0", "-1", "x", "1e999", "9007199254740993", "1%20OR%201=1"]) {
      expect([epoch, (await get(people.bob, `${base}?epoch=${epoch}`)).status]).toEqual([epoch, 400]);
    }
    expect((await get(people.bob, `${base}?epoch=1`)).status).toBe(200);
  });

  test("is not replaced by adding a member again", async () => {
    const before = await keyOf(people.bob);
    const { body } = addBody(room, people.bob);
    const reply = await call(server.ready.http, people.ana, "POST", `/rooms/${room.state.roomId}/members`, body);
    expect([reply.status, reply.json.code]).toEqual([409, "conflict"]);
    expect(await keyOf(people.bob)).toBe(before);
  });
});

describe("a room of others", () => {
  test("reveals nothing to a user outside it, including an admin", async () => {
    const { eve, admin } = people;
    for (const user of [eve, admin]) {
      for (const part of ["", "/members", "/statements", "/key", "/history"]) {
        const reply = await get(user, `/rooms/${room.state.roomId}${part}`);
        expect([part, reply.status, reply.json.code]).toEqual([part, 403, "forbidden"]);
        expect(reply.text).not.toContain(room.state.subject);
      }
      expect((await get(user, `/members/${user.endpoint}/rooms`)).json).toEqual([] as never);
      const reply = await get(user, `/members/${people.ana.endpoint}/rooms`);
      expect([reply.status, reply.json.code]).toEqual([403, "forbidden"]);
    }
    for (const part of ["", "/members", "/statements", "/key", "/history"]) {
      expect([part, (await get(people.bob, `/rooms/${room.state.roomId}${part}`)).status]).toEqual([part, 200]);
    }
  });

  test("cannot be distinguished from an unknown one by a stranger", async () => {
    const outsider = await generateIdentity();
    const [known, unknown] = [room.state.roomId, "01ARZ3NDEKTSV4RRFFQ69G5FAV"];
    for (const part of ["", "/members", "/statements", "/key", "/history"]) {
      const replies = await Promise.all([known, unknown].map((id) => get(outsider, `/rooms/${id}${part}`)));
      expect(replies.map(({ status }) => status)).toEqual([401, 401]);
      expect(replies[0]?.text).toBe(replies[1]?.text ?? "");
    }
  });

  test("a stranger with a valid user key can log in, but not receive or send there", async () => {
    const eve = await dial(server, people.eve);
    const heard: string[] = [];
    const refused: string[] = [];
    for (const subject of [room.state.subject, "room.>", ">"]) {
      eve.subscribe(subject, { callback: (error) => (error === null ? heard : refused).push(subject) });
    }
    await eve.flush();
    const ana = await dial(server, people.ana);
    await ana.request(room.state.subject, "another frame");
    await ana.close();
    await eve.flush();
    expect(heard).toEqual([]);
    expect(refused.sort()).toEqual([room.state.subject, "room.>", ">"].sort());
    await eve.close();
  });
});
