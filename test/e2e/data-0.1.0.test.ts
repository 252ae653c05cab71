/**
 * This version on data directories that 0.1.0 wrote: every user is still a member of their rooms and can read and send
 * there, and the clients' state folders still work. `test/fixtures/make-data.ts` describes the data.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { type Identity, parseIdentity } from "../../src/client/crypto/identity.ts";
import { deliverSubject } from "../../src/wire/names.ts";
import type { ExpectedData } from "../fixtures/make-data.ts";
import { jsonLines } from "../support/cli-peer.ts";
import { type Done, Folder, Server, unibus, until } from "../support/executable.ts";
import { call, dial } from "../support/peer.ts";

const tarball = resolve(import.meta.dir, "../fixtures/data-0.1.0.tar");

/** The flags with which 0.1.0 was started, by folder in the tarball. */
const stores = { sqlite: [], kv: ["--flag", "decentralized=on", "--set", "store-kv.replicas=1"] };

for (const [store, flags] of Object.entries(stores)) {
  describe(`data of 0.1.0, ${store}`, () => {
    const top = new Folder();
    let server: Server;
    let expected: ExpectedData;

    beforeAll(async () => {
      const tar = Bun.spawnSync(["tar", "-xf", tarball, "-C", top.path, "--strip-components=1", store]);
      if (tar.exitCode !== 0) throw new Error(tar.stderr.toString());
      expected = JSON.parse(readFileSync(top.file("expected.json"), "utf8")) as ExpectedData;
      server = await Server.start({ folder: top, args: [...flags, "--set", "http.rate=100000"] });
    }, 60_000);
    afterAll(async () => {
      await server?.[Symbol.asyncDispose]();
      top[Symbol.dispose]();
    }, 60_000);

    const run = (name: string, ...args: string[]): Promise<Done> => {
      const home = top.file("home", name);
      return unibus(top, args, {
        env: { HOME: home, XDG_CONFIG_HOME: `${home}/.config`, UNIBUS_URL: server.ready.http },
      });
    };
    const ok = async (name: string, ...args: string[]): Promise<string> => {
      const { code, stdout, stderr } = await run(name, ...args);
      if (code !== 0) throw new Error(`${name}: unibus ${args.join(" ")}: exit ${code}, ${stderr}`);
      return stdout;
    };
    const identityOf = (name: string): Promise<Identity> =>
      parseIdentity(readFileSync(top.file("home", name, ".config", "unibus", "identity.json"), "utf8"));
    const textsOf = async (name: string, subject: string): Promise<unknown[]> =>
      jsonLines(await ok(name, "history", subject, "--json")).map(({ text }) => text);
    const roomIdOf = (subject: string): string => expected.rooms[subject] ?? "";

    test("every member is in their rooms, and no other user is", async () => {
      for (const [name, endpoint] of Object.entries(expected.endpoints)) {
        if (name === "eve" || name === "fay") continue;
        const reply = await call(server.ready.http, await identityOf(name), "GET", `/members/${endpoint}/rooms`);
        expect(reply.status).toBe(200);
        const listed = reply.json as unknown as { subject: string; room_id: string }[];
        const mine = Object.keys(expected.members).filter((subject) => expected.members[subject]?.includes(name));
        expect(listed.map(({ subject }) => subject).sort()).toEqual(mine.sort());
        for (const { subject, room_id } of listed) expect(room_id).toBe(roomIdOf(subject));
      }
    });

    test("members read the history across rekeys, a leave and a kick", async () => {
      for (const [subject, texts] of Object.entries(expected.texts)) {
        expect(await textsOf("ana", subject)).toEqual([...texts]);
        expect(await textsOf("bob", subject)).toEqual([...texts]);
      }
      await ok("ana", "blob", "get", "room.team", expected.file.id, "--out", top.file("got.txt"));
      expect(readFileSync(top.file("got.txt"), "utf8")).toBe(expected.file.content);
    }, 60_000);

    test("a device continues where it was", async () => {
      const bob = await identityOf("bob");
      const texts = expected.texts["room.plain"] ?? [];
      for (const [device, missed] of [
        ["main", texts.slice(2)],
        ["phone", texts],
      ] as const) {
        const connection = await dial(server, bob);
        const got = new Set<string>();
        connection.subscribe(deliverSubject(bob.endpoint, roomIdOf("room.plain"), device), {
          callback: (_, message) => {
            const frame = JSON.parse(message.string().slice(message.string().indexOf("{"))) as { p: string };
            got.add(Buffer.from(frame.p, "base64").toString());
            if (message.reply !== undefined) connection.publish(message.reply, "+ACK");
          },
        });
        await connection.flush();
        const bound = await call(
          server.ready.http,
          bob,
          "PUT",
          `/rooms/${roomIdOf("room.plain")}/durable?device=${device}`,
        );
        expect(bound.status).toBe(200);
        await until("the device received what it missed", () => got.size >= missed.length, 30_000);
        expect([...got].sort()).toEqual([...missed].sort());
        await connection.drain();
      }
    }, 60_000);

    test("every member can send and receive", async () => {
      await ok("dan", "send", "room.plain", "dan is still here");
      await ok("bob", "send", "room.team", "bob is still here");
      expect((await textsOf("bob", "room.plain")).at(-1)).toBe("dan is still here");
      expect((await textsOf("dan", "room.team")).at(-1)).toBe("bob is still here");
    }, 60_000);

    test("a pending departure is still pending, and an owner settles it", async () => {
      const target = `/rooms/${roomIdOf("room.pending")}`;
      const ana = await identityOf("ana");
      expect((await call(server.ready.http, ana, "GET", target)).json).toMatchObject({ rekey_pending: true, epoch: 1 });
      await ok("ana", "room", "rekey", "room.pending");
      expect((await call(server.ready.http, ana, "GET", target)).json).toMatchObject({
        rekey_pending: false,
        epoch: 2,
      });
      expect((await call(server.ready.http, await identityOf("cleo"), "GET", target)).status).toBe(403);
    }, 60_000);

    test("messages of its rooms cannot be erased, which fails no read; those of a new room can", async () => {
      const { http } = server.ready;
      const ana = await identityOf("ana");
      for (const subject of ["room.plain", "room.team"]) {
        const target = `/rooms/${roomIdOf(subject)}`;
        const before = (await call(http, ana, "GET", `${target}/history`)).json as {
          seqs: number[];
          messages: string[];
        };
        const erased = await call(http, ana, "DELETE", `${target}/messages/${before.seqs.at(-1)}`);
        expect([erased.status, erased.json.code]).toEqual([409, "conflict"]);
        expect((await call(http, ana, "GET", `${target}/history?after=0`)).json.messages).toEqual(before.messages);
      }
      await ok("ana", "room", "new", "room.erasable");
      await ok("ana", "send", "room.erasable", "only for now");
      const listed = (await call(http, ana, "GET", `/members/${ana.endpoint}/rooms`)).json as unknown as {
        room_id: string;
        subject: string;
      }[];
      const target = `/rooms/${listed.find(({ subject }) => subject === "room.erasable")?.room_id}`;
      expect((await call(http, ana, "DELETE", `${target}/messages/1`)).status).toBe(200);
      expect((await call(http, ana, "GET", `${target}/history`)).json.messages).toEqual([]);
    }, 60_000);

    test("a deleted room stays deleted, and so do users and invites", async () => {
      const ana = await identityOf("ana");
      expect((await call(server.ready.http, ana, "GET", `/rooms/${roomIdOf("room.gone")}`)).status).toBe(410);
      for (const name of ["eve", "fay"]) {
        expect((await call(server.ready.http, await identityOf(name), "GET", "/directory")).status).toBe(401);
      }
      const { stdout } = await unibus(top, ["user", "list", "--data", server.data]);
      expect(stdout.split("\n").filter((line) => /^b[o\u043e]b\t/i.test(line))).toHaveLength(3);
      const used = await run("guest", "join", expected.usedLink.replace(expected.url, server.ready.http));
      expect(used).toMatchObject({ code: 1, stderr: expect.stringContaining("used") });
      // The longest-lived invite that 0.1.0 created is valid for a year.
      const open = await run("guest", "join", expected.openLink.replace(expected.url, server.ready.http));
      expect(open).toMatchObject(Date.now() < expected.openUntil ? { code: 0 } : { code: 1 });
    }, 60_000);

    test("a client's state still detects a rollback by the server", async () => {
      await ok("ana", "room", "show", "room.team");
      const state = top.file("home", "ana", ".local", "state", "unibus", expected.endpoints.ana ?? "", "rooms");
      const [version] = readdirSync(`${state}/${roomIdOf("room.plain")}`).filter((name) => /^\d+\.json$/.test(name));
      const file = `${state}/${roomIdOf("room.plain")}/${version}`;
      const pin = JSON.parse(readFileSync(file, "utf8")) as { hash: string };
      writeFileSync(file, readFileSync(file, "utf8").replace(pin.hash, "0".repeat(64)));
      const { code, stderr } = await run("ana", "room", "show", "room.plain");
      expect(code).toBe(1);
      expect(stderr).toContain(roomIdOf("room.plain"));
    }, 60_000);
  });
}
