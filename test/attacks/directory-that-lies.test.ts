/**
 * A server whose directory swaps keys or handles. The client must not seal anything to an unknown key without the
 * user's approval: it pins what it saw first, reports a handle that moved or that looks like a known one, and refuses a
 * directory that never ends. Source: docs/protocol/identity.md, docs/threat-model.md.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import type { Static } from "@sinclair/typebox";
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import { connect } from "../../src/client/index.ts";
import type * as api from "../../src/wire/api.ts";
import { Server } from "../support/executable.ts";
import { HostileServer } from "../support/hostile-server.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { call, freshSubject, postUser } from "../support/peer.ts";
import { failureOf, keysOf, trustingPeer } from "../support/trusting-peer.ts";

type DirectoryList = Static<typeof api.Directory>;

let server: Server;
let people: Cast<"ana" | "bob" | "cleo" | "mallory">;
let way: HostileServer;
/** The real users. */
let everybody: DirectoryList["members"];

beforeAll(async () => {
  server = await Server.start({ proxied: true, args: ["--set", "http.rate=100000"] });
  people = await castOf(server, "ana", "bob", "cleo", "mallory");
  way = await HostileServer.start(server.ready.http);
  const { json } = await call(server.ready.http, people.ana, "GET", "/directory");
  everybody = (json as unknown as DirectoryList).members;
});
afterEach(() => way.honest());
afterAll(async () => {
  await way[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

/** The directory as bob reads it through the lying server, with a fresh client state. */
const directoryOfBob = () => trustingPeer(people.bob, [way.url]).directory;

describe("a directory that", () => {
  /** Makes the server answer with `alter` applied to the real users. */
  const listed = (alter: (list: DirectoryList["members"]) => DirectoryList["members"]) => () =>
    way.alter<DirectoryList>("/directory", (_, { target }) => {
      const wanted = [...new URL(target, way.url).searchParams].filter(([name]) => name !== "limit");
      const members = alter(everybody).filter((one) =>
        wanted.every(([name, value]) => one[name as "handle" | "endpoint" | "sign_pub"] === value),
      );
      return { members, more: false };
    });
  const cleoAs = (more: () => Partial<DirectoryList["members"][number]>) =>
    listed((list) => list.map((one) => (one.endpoint === people.cleo.endpoint ? { ...one, ...more() } : one)));

  test("is honest is read by handle, key and endpoint", async () => {
    const directory = directoryOfBob();
    const { endpoint, signPubHex } = people.cleo;
    const found = await directory.find(["cleo", signPubHex.toUpperCase(), endpoint]);
    expect(found.map((one) => [one.keys, one.handle, one.pinned])).toEqual(
      Array(3).fill([keysOf(people.cleo), "cleo", null]),
    );
    for (const who of ["nobody", "f".repeat(64), "A".repeat(43), ""]) {
      expect((await failureOf(() => directory.find([who]))).code).toBe("not_found");
    }
    const handles: string[] = [];
    for await (const { handle } of directory.list({ limit: 2 })) handles.push(handle);
    expect(handles.sort()).toEqual(["admin", "ana", "bob", "cleo", "mallory"]);
  });

  test("swaps keys is not believed", async () => {
    const directory = directoryOfBob();
    const swaps: readonly (readonly [() => Partial<DirectoryList["members"][number]>, string])[] = [
      [() => ({ kex_pub: people.mallory.kexPubHex }), "did not sign"],
      [() => ({ kex_pub: people.mallory.kexPubHex, kex_sig: people.mallory.kexSig }), "did not sign"],
      [() => ({ kex_sig: "AAAA" }), "did not sign"],
      [() => ({ sign_pub: people.mallory.signPubHex }), "does not belong to their sign_pub"],
      [() => ({ kex_pub: "00".repeat(32) }), "did not sign"],
    ];
    for (const [more, why] of swaps) {
      cleoAs(more)();
      const error = await failureOf(() => directory.find(["cleo"]));
      expect([error.code, error.message]).toEqual(["forbidden", expect.stringContaining(why)]);
    }
    cleoAs(() => ({ kex_pub: null, kex_sig: null }))();
    expect((await directory.find(["cleo"]))[0]?.keys).toBeNull();
  });

  test("assigns a handle to another user is reported until the user approves", async () => {
    const directory = directoryOfBob();
    await directory.find(["cleo"]);
    const renamed = listed((list) =>
      list.map((one) => ({
        ...one,
        handle: one.handle === "mallory" ? "cleo" : one.handle === "cleo" ? "x" : one.handle,
      })),
    );
    renamed();
    for (let i = 0; i < 2; i++) {
      const [found] = await directory.find(["cleo"]);
      expect([found?.endpoint, found?.pinned]).toEqual([people.mallory.endpoint, people.cleo.endpoint]);
    }
    const [found] = await directory.find(["cleo"]);
    if (found !== undefined) await directory.approve(found);
    expect((await directory.find(["cleo"]))[0]?.pinned).toBeNull();
  });

  test("assigns a look-alike of a known handle to another user is reported until the user approves", async () => {
    const directory = directoryOfBob();
    await directory.find(["cleo"]);
    listed((list) =>
      list.map((one) => ({
        ...one,
        handle: one.handle === "mallory" ? "cIeo" : one.handle === "cleo" ? "x" : one.handle,
      })),
    )();
    for (let i = 0; i < 2; i++) {
      const [found] = await directory.find(["cIeo"]);
      expect([found?.endpoint, found?.pinned]).toEqual([people.mallory.endpoint, people.cleo.endpoint]);
    }
    const [found] = await directory.find(["cIeo"]);
    if (found !== undefined) await directory.approve(found);
    expect((await directory.find(["cIeo"]))[0]?.pinned).toBeNull();
    // Handles that look alike are pinned together: the approved key is now the pin of the first handle, too.
    way.honest();
    expect((await directory.find(["cleo"]))[0]?.pinned).toBe(people.mallory.endpoint);
  });

  test("has a handle twice, or one that looks like a user's key, resolves it to no user", async () => {
    const directory = directoryOfBob();
    listed((list) => list.map((one) => ({ ...one, handle: "ana" })))();
    const error = await failureOf(() => directory.find(["ana"]));
    expect([error.code, error.message]).toEqual(["conflict", expect.stringContaining(people.cleo.endpoint)]);
    const gone = people.cleo.endpoint;
    listed((list) =>
      list
        .filter(({ endpoint }) => endpoint !== gone)
        .map((one) => ({ ...one, handle: gone }))
        .slice(0, 1),
    )();
    expect((await failureOf(() => directory.find([gone]))).code).toBe("not_found");
  });

  test("puts the user who is meant behind a page of others is read to its end", async () => {
    const crowd: DirectoryList["members"] = [];
    for (let n = 0; n < 25; n++) {
      const { sign_pub, ...kex } = keysOf(await generateIdentity());
      crowd.push({ sign_pub, ...kex, handle: `other ${n}`, role: "member" });
    }
    crowd.sort((a, b) => (a.endpoint < b.endpoint ? -1 : 1));
    const last = crowd.at(-1);
    way.alter<DirectoryList>("/directory", (_, { target }) => {
      const query = new URL(target, way.url).searchParams;
      const limit = Number(query.get("limit") ?? 1_000);
      const rest = crowd.filter(({ endpoint }) => endpoint > (query.get("after") ?? ""));
      const members = rest.slice(0, limit).map((one) => (one === last ? { ...one, handle: "zoe" } : one));
      return { members, more: rest.length > limit };
    });
    expect((await directoryOfBob().find(["zoe"])).map(({ endpoint }) => endpoint)).toEqual([last?.endpoint ?? ""]);
    expect((await failureOf(() => directoryOfBob().find(["nobody"]))).code).toBe("not_found");
  });

  test("never ends, or returns users who were not requested, is given up", async () => {
    const directory = directoryOfBob();
    way.alter<DirectoryList>("/directory", () => ({ members: everybody, more: true }));
    const all = async () => {
      for await (const { handle } of directory.list()) expect(handle).toBeString();
    };
    expect((await failureOf(all)).message).toContain("the server's directory repeats its pages");
    const named = await failureOf(() => directory.find(["nobody"]));
    expect([named.code, named.message]).toEqual(["forbidden", expect.stringContaining("repeats its pages")]);
  });
});

describe("a list of members that", () => {
  type MemberList = Static<typeof api.MemberList>;
  const named = (handleOf: (one: MemberList["members"][number]) => string) =>
    way.alter<MemberList>("/members", (json) => ({
      ...json,
      members: json.members.map((one) => ({ ...one, handle: handleOf(one) })),
    }));

  test("assigns a handle to another member causes no kick and no new owner by that handle", async () => {
    const { ana, bob, cleo, mallory } = people;
    await using bus = await connect({ url: way.url, identity: ana, state: "memory", lazy: true });
    const room = await bus.createRoom(freshSubject(), "matrix");
    await room.membership.add(["cleo", "mallory"]);
    named(({ endpoint, handle }) => (endpoint === mallory.endpoint ? "cleo" : handle === "cleo" ? "x" : handle));
    await room.refresh();
    await room.membership.rekey();
    const before = room.state.state.version;
    for (const change of [() => room.membership.setRole("cleo", "owner"), () => room.membership.kick("cleo")]) {
      const error = await failureOf(change);
      expect([error.code, error.message]).toEqual(["forbidden", expect.stringContaining(cleo.endpoint)]);
    }
    named(({ endpoint }) => (endpoint === mallory.endpoint ? bob.endpoint : endpoint));
    await room.membership.rekey();
    expect((await failureOf(() => room.membership.kick(bob.endpoint))).code).toBe("not_found");
    expect(room.state.state.version).toBe(before + 1);
    expect(room.membership.present.map(({ endpoint }) => endpoint)).toContain(mallory.endpoint);
    await room.membership.setRole(cleo.endpoint, "owner");
    expect(room.state.owners).toContain(cleo.signPubHex);
  });

  test("has a member who looks like a user outside makes the handle ambiguous", async () => {
    const { ana, cleo, admin } = people;
    await using bus = await connect({ url: way.url, identity: ana, state: "memory", lazy: true });
    const room = await bus.createRoom(freshSubject(), "matrix");
    await room.membership.add("cleo");
    const outside = await postUser(server, admin, "CLE0");
    for (const change of [() => room.membership.kick("cleo"), () => room.membership.setRole("cleo", "owner")]) {
      const error = await failureOf(change);
      expect(error.code).toBe("conflict");
      for (const { endpoint } of [cleo, outside]) expect(error.message).toContain(endpoint);
    }
    await call(server.ready.http, admin, "DELETE", `/users/${outside.signPubHex}`);
    await room.membership.kick("cleo");
    expect(room.membership.present.map(({ endpoint }) => endpoint)).toEqual([ana.endpoint]);
  });
});
