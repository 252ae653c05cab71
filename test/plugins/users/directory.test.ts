/**
 * The directory and the user list over HTTP, on both stores: pages, filters, handle looks, ETags, and renames.
 * A handle also finds users whose handles look alike. Source: docs/reference/http.md, docs/protocol/identity.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { generateIdentity, type Identity } from "../../../src/client/crypto/identity.ts";
import { UserStore } from "../../../src/contracts/store.ts";
import { Users } from "../../../src/contracts/users.ts";
import { peer, upTo, userSample } from "../../conformance/store-samples.ts";
import { handleCases, lookCases } from "../../support/handle-cases.ts";
import { bootInProcess, type InProcess } from "../../support/in-process.ts";
import { addMembers, call, createRoom, policy, type Reply, signedHeaders } from "../../support/peer.ts";
import { failureOf, trustingPeer } from "../../support/trusting-peer.ts";

type Entry = { readonly endpoint: string; readonly sign_pub: string; readonly handle: string };
type Page = { readonly members: readonly Entry[]; readonly more: boolean };

/** More users than fit on one page. */
const manyUsers = 2_100;

function must<T>(service: T | undefined): T {
  if (service === undefined) throw new Error("the bus lacks a service");
  return service;
}

for (const [store, flags] of [
  ["sqlite", {}],
  ["kv", { decentralized: true }],
] as const) {
  describe(`the directory, ${store}`, () => {
    let running: InProcess;
    let admin: Identity;
    let users: UserStore;

    const get = (target: string, headers: Record<string, string> = {}): Promise<Reply> => {
      const { http } = running.server.ready;
      const signed = signedHeaders(admin, { url: http, method: "GET", target });
      return fetch(`${http}${target}`, { headers: { ...signed, ...headers } }).then(async (reply) => {
        const text = await reply.text();
        return { status: reply.status, headers: reply.headers, text, json: text === "" ? {} : JSON.parse(text) };
      });
    };
    const page = async (query: Record<string, string>): Promise<Page> => {
      const { status, json } = await get(`/directory?${new URLSearchParams(query)}`);
      expect(status).toBe(200);
      return json as unknown as Page;
    };
    const handlesOf = async (query: Record<string, string>) => (await page(query)).members.map(({ handle }) => handle);
    const post = (target: string, body: unknown) => call(running.server.ready.http, admin, "POST", target, body);
    const added = async (handle: string): Promise<Identity> => {
      const identity = await generateIdentity();
      const { signPubHex: sign_pub, kexPubHex: kex_pub, kexSig: kex_sig } = identity;
      const { status } = await post("/users", { sign_pub, kex_pub, kex_sig, handle, role: "member" });
      expect(status).toBe(201);
      return identity;
    };

    beforeAll(async () => {
      running = await bootInProcess({ flags });
      users = must(running.bus.service(UserStore));
      admin = await generateIdentity();
      const { signPubHex: signPub, kexPubHex: kexPub, kexSig } = admin;
      await must(running.bus.service(Users)).add({ signPub, kexPub, kexSig, handle: "admin", role: "admin" });
      for (let n = 0; n < manyUsers; n += 100) {
        await Promise.all(upTo(100).map((i) => users.insertUser(userSample(n + i, { handle: `user ${n + i}` }))));
      }
    }, 60_000);
    afterAll(() => running?.[Symbol.asyncDispose]());

    test("a page holds 1,000 users, or as many as requested, and says whether more follow", async () => {
      const everybody = [...upTo(manyUsers).map(peer), admin.endpoint].sort();
      const pages: string[][] = [];
      for (let query: Record<string, string> = {}; ; ) {
        const { members, more } = await page(query);
        pages.push(members.map(({ endpoint }) => endpoint));
        if (!more) break;
        query = { after: members.at(-1)?.endpoint ?? "" };
      }
      expect(pages.map(({ length }) => length)).toEqual([1_000, 1_000, manyUsers + 1 - 2_000]);
      expect(pages.flat()).toEqual(everybody);
      const small = await page({ limit: "2", after: everybody[4] ?? "" });
      expect([small.members.map(({ endpoint }) => endpoint), small.more]).toEqual([everybody.slice(5, 7), true]);
      const last = await page({ limit: "2", after: everybody.at(-3) ?? "" });
      expect([last.members.length, last.more]).toEqual([2, false]);
    });

    test("the list of users has pages, too", async () => {
      const all: string[] = [];
      for (let after: string | null = null, more = true; more; ) {
        const reply = await get(`/users${after === null ? "" : `?after=${after}`}`);
        const { users: listed } = reply.json as unknown as { users: Entry[] };
        expect(listed.length).toBeLessThanOrEqual(1_000);
        all.push(...listed.map(({ sign_pub }) => sign_pub));
        after = all.at(-1) ?? null;
        more = reply.json.more === true;
      }
      expect(all).toHaveLength(manyUsers + 1);
      expect(all).toEqual([...new Set(all)].sort());
    });

    test("filters select users by endpoint, key and handle, and can be combined", async () => {
      const { signPub, endpoint, handle } = userSample(7, { handle: "user 7" });
      expect(await handlesOf({ endpoint })).toEqual([handle]);
      expect(await handlesOf({ sign_pub: signPub.toUpperCase() })).toEqual([handle]);
      expect(await handlesOf({ handle: "USER 7" })).toEqual([handle]);
      expect(await handlesOf({ endpoint, sign_pub: signPub, handle })).toEqual([handle]);
      const other = userSample(8);
      for (const query of [
        { endpoint, sign_pub: other.signPub },
        { endpoint, handle: "user 8" },
        { endpoint, after: endpoint },
        { endpoint: "A".repeat(43) },
        { handle: "nobody" },
        { handle: "" },
      ]) {
        expect(await page(query)).toEqual({ members: [], more: false });
      }
      for (const query of ["endpoint=x", "sign_pub=x", "after=x", "limit=0", "limit=1001", "limit=x"]) {
        expect((await get(`/directory?${query}`)).json.code).toBe("invalid");
      }
    });

    test("a handle of more than 64 characters is refused, one of 64 is looked up", async () => {
      for (const one of ["a", "🦊"]) {
        const status = async (count: number) =>
          (await get(`/directory?handle=${encodeURIComponent(one.repeat(count))}`)).status;
        expect([await status(64), await status(65)]).toEqual([200, 400]);
      }
    });

    test("users who are revoked or deleted are not listed", async () => {
      const [one, other] = [await added("short"), await added("shorter")];
      expect((await post(`/users/${one.signPubHex}/revoke`, undefined)).status).toBe(204);
      const gone = await call(running.server.ready.http, admin, "DELETE", `/users/${other.signPubHex}`);
      expect(gone.status).toBe(204);
      for (const { endpoint, signPubHex } of [one, other]) {
        expect(await handlesOf({ endpoint })).toEqual([]);
        expect(await handlesOf({ sign_pub: signPubHex })).toEqual([]);
      }
      expect([...(await handlesOf({ handle: "short" })), ...(await handlesOf({ handle: "shorter" }))]).toEqual([]);
    });

    test("an unchanged reply is not sent again", async () => {
      const target = "/directory?limit=3";
      const first = await get(target);
      const etag = first.headers.get("etag") ?? "";
      expect(etag).toMatch(/^"[\w-]{22}"$/);
      for (const known of [etag, `"x", W/${etag}`, "*"]) {
        const again = await get(target, { "if-none-match": known });
        expect([again.status, again.text, again.headers.get("etag")]).toEqual([304, "", etag]);
      }
      expect((await get(target, { "if-none-match": '"x"' })).text).toBe(first.text);
      expect((await get("/directory?limit=4", { "if-none-match": etag })).status).toBe(200);
    });

    test.each(handleCases.map((one) => [one.name, one] as const))("a handle: %s", async (_, { given, stored }) => {
      const { signPubHex: sign_pub } = await generateIdentity();
      const made = await post("/users", { sign_pub, handle: given, role: "member" });
      const invite = await post("/invites", { handle: given });
      expect([made.status, invite.status]).toEqual(stored === null ? [400, 400] : [201, 201]);
      const { json } = await get("/invites");
      const invited = (json.invites as Entry[]).map(({ handle }) => handle);
      if (stored === null) {
        expect(await handlesOf({ sign_pub })).toEqual([]);
        expect(invited).not.toContain(given);
        return;
      }
      expect(await handlesOf({ sign_pub })).toEqual([stored]);
      expect(invited).toContain(stored);
      await call(running.server.ready.http, admin, "DELETE", `/users/${sign_pub}`);
    });

    test.each(handleCases.map((one) => [one.name, one] as const))("a rename: %s", async (_, { given, stored }) => {
      const { signPubHex } = await added("before the rename");
      const { http } = running.server.ready;
      const { status } = await call(http, admin, "PUT", `/users/${signPubHex}`, { handle: given });
      expect(status).toBe(stored === null ? 400 : 204);
      expect(await handlesOf({ sign_pub: signPubHex })).toEqual([stored ?? "before the rename"]);
      if (stored !== null) {
        expect(await handlesOf({ handle: stored })).toEqual([stored]);
        expect(await handlesOf({ handle: "before the rename" })).toEqual([]);
      }
      await call(http, admin, "DELETE", `/users/${signPubHex}`);
    });

    test("renaming a user changes the handle in their rooms, and that of no other user", async () => {
      const { http } = running.server.ready;
      const [owner, member] = [await added("owner of one"), await added("member of one")];
      const room = await addMembers(running.server, await createRoom(running.server, owner, policy()), member);
      const put = (key: string) => call(http, admin, "PUT", `/users/${key}`, { handle: "member of two" });
      expect((await put(member.signPubHex)).status).toBe(204);
      expect((await put("f".repeat(64))).status).toBe(404);
      const { json } = await call(http, owner, "GET", `/rooms/${room.state.roomId}/members`);
      expect((json.members as Entry[]).map(({ handle }) => handle).sort()).toEqual(["member of two", "owner of one"]);
    });

    test.each(lookCases.map((one) => [one.name, one] as const))(
      "two handles that look alike match no user: %s",
      async (_, { one, other }) => {
        const both = [await added(one), await added(other)];
        const endpoints = both.map(({ endpoint }) => endpoint).sort();
        const { directory } = trustingPeer(admin, [running.server.ready.http]);
        for (const handle of [one, other]) {
          expect((await page({ handle })).members.map(({ endpoint }) => endpoint)).toEqual(endpoints);
          const refusal = await failureOf(() => directory.find([handle]));
          expect(refusal.code).toBe("conflict");
          for (const endpoint of endpoints) expect(refusal.message).toContain(endpoint);
        }
        const named = await directory.find(endpoints);
        expect(named.map(({ endpoint }) => endpoint)).toEqual(endpoints);
        for (const { signPubHex } of both) {
          await call(running.server.ready.http, admin, "DELETE", `/users/${signPubHex}`);
        }
      },
    );

    test("a client that looks up a user requests that user only", async () => {
      const known = await added("Zoë");
      const { directory, control } = trustingPeer(admin, [running.server.ready.http]);
      const sizes: number[] = [];
      const send = control.send.bind(control) as (...values: unknown[]) => Promise<unknown>;
      control.send = async (...values: unknown[]) => {
        const reply = await send(...values);
        sizes.push(JSON.stringify(reply).length);
        return reply as never;
      };
      const found = await directory.find(["zoe\u0308", known.endpoint, known.signPubHex]);
      expect(found.map(({ endpoint }) => endpoint)).toEqual(Array(3).fill(known.endpoint));
      expect(sizes).toHaveLength(3);
      expect(Math.max(...sizes)).toBeLessThan(1_000);
    });
  });
}
