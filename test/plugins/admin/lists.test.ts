/**
 * The lists for admins, on both stores, read by `bus.admin`: rooms, connections and usage, in pages of bounded size,
 * with metadata only. Source: docs/protocol/admin.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Identity } from "../../../src/client/crypto/identity.ts";
import { type Bus, connect } from "../../../src/client/index.ts";
import { adminPage } from "../../../src/wire/admin-api.ts";
import { until } from "../../support/executable.ts";
import { bootInProcess, type InProcess, insertUser } from "../../support/in-process.ts";
import { addMembers, at, call, createRoom, dial, leave, type OwnRoom, policy, type Reply } from "../../support/peer.ts";

for (const [store, flags] of [
  ["sqlite", {}],
  ["kv", { decentralized: true }],
] as const) {
  describe(`lists for admins, ${store}`, () => {
    let running: InProcess;
    let admin: Identity;
    let ana: Identity;
    let bob: Identity;
    let bus: Bus;
    let rooms: OwnRoom[];

    const get = (target: string): Promise<Reply> => call(running.server.ready.http, admin, "GET", target);
    /** Reads a list in pages of a size. Returns the pages. */
    const pagesOf = async (name: string, limit: number): Promise<readonly (readonly Record<string, unknown>[])[]> => {
      const pages: Record<string, unknown>[][] = [];
      for (let after = ""; ; ) {
        const { status, json } = await get(`/admin/${name}?limit=${limit}${after}`);
        expect(status).toBe(200);
        pages.push(json[name] as Record<string, unknown>[]);
        if (json.next === null) return pages;
        after = `&after=${json.next}`;
      }
    };

    beforeAll(async () => {
      running = await bootInProcess({ flags });
      const { server } = running;
      admin = await insertUser(running, "admin", "admin");
      [ana, bob] = [await insertUser(running, "ana"), await insertUser(running, "bob")];
      bus = await connect({ url: server.ready.http, identity: admin, state: "memory", lazy: true });
      const first = await addMembers(server, await createRoom(server, ana, policy("encrypt", "persist")), bob);
      const peer = await dial(server, ana);
      for (const text of ["secret text", "more"]) await peer.request(first.state.subject, text);
      await peer.close();
      const second = await addMembers(server, await createRoom(server, ana, policy("encrypt")), bob);
      const third = await createRoom(server, bob, policy("persist"));
      const gone = await createRoom(server, bob, policy());
      rooms = [first, second, third];
      expect((await leave(server, second, bob)).status).toBe(204);
      expect((await call(server.ready.http, bob, "DELETE", at(gone))).status).toBe(204);
    }, 60_000);
    afterAll(async () => {
      await bus.close();
      await running[Symbol.asyncDispose]();
    });

    test("rooms show members and stored bytes; deleted rooms and content are not shown", async () => {
      const [first, second, third] = rooms.map(({ state }) => state);
      const common = { epoch: 1, rekey_pending: false, messages: null, bytes: null, created_at: expect.any(String) };
      const wanted = [
        {
          ...common,
          ...{ room_id: first?.roomId, subject: first?.subject, policy: first?.policy, creator: ana.endpoint },
          ...{ version: 2, members: 2, messages: 2, bytes: expect.any(Number) },
        },
        {
          ...common,
          ...{ room_id: second?.roomId, subject: second?.subject, policy: second?.policy, creator: ana.endpoint },
          ...{ version: 2, members: 1, rekey_pending: true },
        },
        {
          ...common,
          ...{ room_id: third?.roomId, subject: third?.subject, policy: third?.policy, creator: bob.endpoint },
          ...{ version: 1, members: 1, messages: 0, bytes: 0 },
        },
      ];
      const found = await Array.fromAsync(bus.admin.rooms());
      expect(found).toEqual([...wanted].sort((a, b) => ((a.room_id ?? "") < (b.room_id ?? "") ? -1 : 1)) as never);
      expect((await get("/admin/rooms")).text).not.toContain("secret");
    });

    test("a page looks at as many records as requested, and only `next` says whether the list ends", async () => {
      for (const name of ["rooms", "usage"]) {
        const [whole] = await pagesOf(name, adminPage.max);
        const pages = await pagesOf(name, 1);
        expect(pages.flat()).toEqual([...(whole ?? [])]);
        for (const page of pages) expect(page.length).toBeLessThanOrEqual(1);
      }
      for (const query of ["limit=0", `limit=${adminPage.max + 1}`, "limit=x", "after=x"]) {
        for (const name of ["rooms", "connections", "usage"]) {
          expect((await get(`/admin/${name}?${query}`)).json.code).toBe("invalid");
        }
      }
    });

    test("connections show who is connected, from where and since when, until they end", async () => {
      const peers = [await dial(running.server, ana), await dial(running.server, bob), await dial(running.server, bob)];
      const list = () => Array.fromAsync(bus.admin.connections());
      await until("all are listed", async () => (await list()).length === peers.length);
      expect(await list()).toEqual(
        [ana, bob, bob].map(({ endpoint }) => ({
          ...{ endpoint, handle: endpoint === ana.endpoint ? "ana" : "bob", address: "127.0.0.1" },
          since: expect.any(String),
        })),
      );
      expect((await pagesOf("connections", 2)).map(({ length }) => length)).toEqual([2, 1]);
      const counts = (await Array.fromAsync(bus.admin.usage())).map(({ handle, connections }) => [handle, connections]);
      expect(Object.fromEntries(counts)).toEqual({ admin: 0, ana: 1, bob: 2 });
      for (const peer of peers) await peer.close();
      await until("none is listed", async () => (await list()).length === 0);
    });

    test("usage shows what each user takes of the quotas, also of revoked users", async () => {
      const { status } = await call(running.server.ready.http, bob, "POST", "/blobs", "x".repeat(5_000));
      expect(status).toBe(201);
      await bus.admin.users.revoke(bob.signPubHex);
      const usage = await Array.fromAsync(bus.admin.usage());
      expect(usage.map(({ sign_pub }) => sign_pub)).toEqual(
        [admin, ana, bob].map(({ signPubHex }) => signPubHex).sort(),
      );
      const of = ({ endpoint }: Identity) => usage.find((one) => one.endpoint === endpoint);
      expect(of(ana)).toMatchObject({ handle: "ana", role: "member", status: "active", rooms: 2, blob_bytes: 0 });
      expect(of(bob)).toMatchObject({ status: "revoked", rooms: 1, blob_bytes: 5_002 });
      expect(of(ana)?.row_bytes).toBeGreaterThan(of(bob)?.row_bytes ?? 0);
      await bus.admin.users.restore(bob.signPubHex);
      expect((await Array.fromAsync(bus.admin.users.list())).map(({ status: now }) => now)).toEqual(
        Array.from({ length: 3 }, () => "active" as const),
      );
    });
  });
}
