/**
 * A node with SQLite on a nearly full disk refuses writes that grow the store, allows removals, and reports it. Needs
 * root, to mount a small disk, and is skipped otherwise. Source: docs/protocol/limits.md.
 */
import { expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { Server, until } from "../support/executable.ts";
import { castOf } from "../support/inside.ts";
import {
  addMembers,
  at,
  call,
  createBody,
  createRoom,
  freshSubject,
  leave,
  newRoom,
  policy,
  send,
} from "../support/peer.ts";
import { SmallDisk } from "../support/small-disk.ts";

/** The disk, and 5 % of it, which is less than 64 MiB. */
const diskBytes = 209_715_200;
const reserveBytes = diskBytes * 0.05;

const probe = SmallDisk.mount(1_048_576);
const canMount = probe !== null;
probe?.[Symbol.dispose]();

if (!canMount) console.info("disk-reserve: not run, because it needs root to mount a tmpfs");
else {
  test("the last 5 % of a small disk are for removals, and a fifth of them for admins", async () => {
    const disk = SmallDisk.mount(diskBytes);
    if (disk === null) throw new Error("the disk cannot be mounted any more");
    using folder = disk;
    await using server = await Server.start({ folder });
    const { http } = server.ready;
    const { admin, ana, bob, cy } = await castOf(server, "ana", "bob", "cy");
    const room = await addMembers(server, await createRoom(server, ana, policy()), bob, cy);
    const create = () => call(http, ana, "POST", "/rooms", createBody(newRoom(ana, freshSubject(), policy())));
    const readiness = async () => (await send(`${http}/readyz`)).status;
    expect((await create()).status).toBe(201);
    expect(await readiness()).toBe(200);

    folder.fillTo(reserveBytes / 2);
    await until("the server has noticed", async () => (await readiness()) === 503);
    const ready = await send(`${http}/readyz`);
    const detail = expect.stringMatching(/^the server's disk is full \(free some space/);
    expect(ready.json.plugins).toMatchObject({ "store-sqlite": { ok: false, detail } });
    const refused = await create();
    expect([refused.status, refused.json.code]).toEqual([503, "unavailable"]);
    expect(refused.json.error).toMatch(/^the server's disk is full: the rest is reserved for removals \(/);
    expect((await leave(server, room, bob)).status).toBe(204);
    expect((await call(http, bob, "GET", at(room))).status).toBe(403);

    folder.fillTo(reserveBytes / 10);
    await until("the server has noticed", async () => (await call(http, cy, "GET", at(room))).status === 503);
    expect((await leave(server, room, cy)).status).toBe(503);
    expect((await call(http, admin, "POST", `/users/${cy.signPubHex}/revoke`)).status).toBe(204);
    expect((await call(http, admin, "DELETE", at(room))).status).toBe(204);

    for (const name of new Bun.Glob("noise-*").scanSync(server.data)) rmSync(`${server.data}/${name}`);
    await until("the server has recovered by itself", async () => (await readiness()) === 200);
    expect((await create()).status).toBe(201);
    expect((await call(http, cy, "GET", "/directory")).status).toBe(401);
  }, 60_000);
}
