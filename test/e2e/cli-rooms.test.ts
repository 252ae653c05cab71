/**
 * Rooms and people on the command line: whoami, directory, creating and listing rooms, and changing members.
 * Covers pinned handles, ambiguous handles, and the exit codes of refusals (1) and wrong usage (2).
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { CliPeer } from "../support/cli-peer.ts";
import { Folder, Server, unibus } from "../support/executable.ts";
import { HostileServer } from "../support/hostile-server.ts";
import { addUser, call, freshSubject, postUser } from "../support/peer.ts";

let server: Server;
let admin: Identity;

beforeAll(async () => {
  server = await Server.start({ proxied: true, args: ["--set", "http.rate=100000"] });
  admin = await addUser(server, "root", { admin: true });
});
afterAll(() => server[Symbol.asyncDispose]());

const join = (handle: string) => CliPeer.join(server, admin, handle);

describe("users and the server", () => {
  test("whoami prints the user as the server knows it, in lines and in JSON", async () => {
    using ana = await join("ana");
    const { endpoint, signPubHex } = ana.identity;
    expect(await ana.ok(["whoami"])).toMatch(new RegExp(`^handle +ana$[^]*^endpoint +${endpoint}$`, "m"));
    const json = JSON.parse(await ana.ok(["whoami", "--json"]));
    expect(json).toMatchObject({ url: server.ready.http, handle: "ana", role: "member", sign_pub: signPubHex });
  });

  test("a handle with escape sequences is shown without their effect", async () => {
    // The server's rules reject such a handle, but a malicious server may send it.
    using ana = await join("anna");
    await using way = await HostileServer.start(server.ready.http);
    way.alter<{ members: object[] }>("/directory", (json) => ({
      ...json,
      members: json.members.map((one) => ({ ...one, handle: "a\u202enna\u200b" })),
    }));
    const whoami = ["whoami", "--url", way.url];
    expect(await ana.ok(whoami)).toMatch(/^handle +a\\u\{202e\}nna\\u\{200b\}$/m);
    const text = await ana.ok([...whoami, "--json"]);
    expect(text).toContain("a\\u202enna\\u200b");
    expect(JSON.parse(text).handle).toBe("a\u202enna\u200b");
  });

  test("directory lists the users, or those that a name can mean", async () => {
    using ana = await join("Ana-Zoë");
    using other = await join("ana-zoe\u0308");
    const rows = (await ana.ok(["directory"])).trimEnd().split("\n");
    expect(rows).toContain(`Ana-Zoë\tmember\t${ana.identity.endpoint}`);
    expect(rows.filter((row) => row.startsWith("root\tadmin\t"))).toHaveLength(1);
    const named = (await ana.ok(["directory", "ANA-ZOË", "--json"])).trimEnd().split("\n");
    const endpoints = named.map((line) => (JSON.parse(line) as { endpoint: string }).endpoint);
    expect(endpoints.sort()).toEqual([ana.identity.endpoint, other.identity.endpoint].sort());
    expect(await ana.run(["directory", "nobody"])).toMatchObject({ code: 0, stdout: "" });
  });

  test("pins of rooms and people are stored in the state folder, for its owner only", async () => {
    using ana = await join("ana");
    const folder = ana.folder.file(".local", "state", "unibus", ana.identity.endpoint);
    expect(existsSync(folder)).toBe(false);
    await ana.ok(["room", "new", freshSubject()]);
    expect(existsSync(folder)).toBe(true);
    const moved = ana.folder.file("state");
    await unibus(ana.folder, ["room", "new", freshSubject()], { env: { ...ana.env, XDG_STATE_HOME: moved } });
    expect(existsSync(`${moved}/unibus/${ana.identity.endpoint}`)).toBe(true);
  });

  test("with several addresses one that answers is enough", async () => {
    using ana = await join("ana");
    const url = `http://127.0.0.1:1, ${server.ready.http}`;
    expect((await ana.run(["rooms", "--url", url])).code).toBe(0);
  });
});

describe("rooms", () => {
  test("can be created, listed and shown, with modes and single properties", async () => {
    using ana = await join("ana");
    const subjects = [freshSubject(), freshSubject(), freshSubject("proc"), freshSubject()];
    const made = [[], ["--mode", "nats"], ["--persist", "--sign"], ["--mode", "nats", "--encrypt"]];
    const policies = ["encrypted,persisted,signed", "plain", "persisted,signed", "encrypted"];
    for (const [i, options] of made.entries()) {
      const stdout = await ana.ok(["room", "new", subjects[i] ?? "", ...options]);
      expect(stdout).toMatch(new RegExp(`^policy +${policies[i]}$`, "m"));
    }
    const listed = (await ana.ok(["rooms"])).trim().split("\n");
    expect(listed.map((line) => line.split("\t").slice(1).join(" ")).sort()).toEqual(
      subjects.map((subject, i) => `${subject} owner epoch 1 ${policies[i]}`).sort(),
    );
    const { rooms } = JSON.parse(await ana.ok(["rooms", "--json"]));
    const room = rooms.find(({ subject }: { subject: string }) => subject === subjects[2]);
    expect(room).toMatchObject({ role: "owner", epoch: 1, policy: { encrypt: false, persist: true, sign_msgs: true } });
    const byId = JSON.parse(await ana.ok(["room", "show", room.room_id, "--json"]));
    expect(byId).toMatchObject({ room_id: room.room_id, subject: subjects[2], version: 1, members: 1, owners: 1 });
  });

  test("have members by handle, key or endpoint, owners, kicks and leaves, and can be rekeyed and deleted", async () => {
    using ana = await join("ana-1");
    using bob = await join("bob-1");
    using cleo = await join("cleo-1");
    using dora = await join("dora-1");
    const subject = freshSubject();
    await ana.ok(["room", "new", subject]);
    const ends = [bob.handle, cleo.identity.signPubHex.toUpperCase(), dora.identity.endpoint];
    const added = await ana.run(["room", "add", subject, "--", ...ends]);
    expect(added.code).toBe(0);
    expect(added.stderr).toContain(`unibus room role ${subject} WHO owner`);
    const members = async () =>
      (await ana.ok(["room", "members", subject]))
        .trim()
        .split("\n")
        .map((line) => line.split("\t").slice(0, 2).join(" "));
    expect(await members()).toEqual(["ana-1 owner", "bob-1 member", "cleo-1 member", "dora-1 member"]);

    await ana.ok(["room", "role", subject, "bob-1", "owner"]);
    await ana.ok(["room", "kick", subject, "cleo-1"]);
    expect(await members()).toEqual(["ana-1 owner", "bob-1 owner", "dora-1 member"]);
    const refused = await cleo.run(["room", "show", subject]);
    expect(refused.code).toBe(1);

    await dora.ok(["room", "leave", subject]);
    expect((await ana.run(["room", "show", subject])).stderr).toContain(`unibus room rekey ${subject}`);
    await ana.ok(["room", "rekey", subject]);
    const { members: left } = JSON.parse(await bob.ok(["room", "members", subject, "--json"]));
    expect(left.map(({ handle }: { handle: string }) => handle)).toEqual(["ana-1", "bob-1"]);
    expect(JSON.parse(await bob.ok(["room", "show", subject, "--json"]))).toMatchObject({
      epoch: 3,
      rekey_pending: false,
    });

    const { room_id } = JSON.parse(await bob.ok(["room", "show", subject, "--json"]));
    await bob.ok(["room", "delete", subject]);
    const gone = await ana.run(["room", "show", room_id]);
    expect([gone.code, gone.stdout]).toEqual([1, ""]);
    expect(gone.stderr).toMatch(/^error: .+ \(.+\)\n$/);
  }, 30_000);

  test("refuse a handle that now belongs to another user, with both endpoints, until it is approved", async () => {
    using ana = await join("ana-2");
    const first = await postUser(server, admin, "mallory-2");
    const subject = freshSubject();
    await ana.ok(["room", "new", subject]);
    await ana.ok(["room", "add", subject, "mallory-2"]);
    await ana.ok(["room", "kick", subject, "mallory-2"]);
    expect((await call(server.ready.http, admin, "DELETE", `/users/${first.signPubHex}`)).status).toBe(204);
    const second = await postUser(server, admin, "mallory-2");
    const refused = await ana.run(["room", "add", subject, "mallory-2"]);
    expect([refused.code, refused.stdout]).toEqual([1, ""]);
    for (const { endpoint } of [first, second]) expect(refused.stderr).toContain(endpoint);
    expect(refused.stderr).toContain("--approve");
    await ana.ok(["room", "add", subject, "mallory-2", "--approve"]);
    expect(await ana.ok(["room", "members", subject])).toContain(second.endpoint);
  });

  test("refuse an ambiguous handle, with the endpoints", async () => {
    using ana = await join("ana-3");
    const twins = [await postUser(server, admin, "twin-3"), await postUser(server, admin, "twin-3")];
    const subject = freshSubject();
    await ana.ok(["room", "new", subject]);
    const refused = await ana.run(["room", "add", subject, "twin-3"]);
    expect(refused.code).toBe(1);
    for (const { endpoint } of twins) expect(refused.stderr).toContain(endpoint);
    await ana.ok(["room", "add", subject, "--", ...twins.map(({ endpoint }) => endpoint)]);
  });
});

describe("errors", () => {
  test("wrong usage exits with 2 and a message on stderr, and prints nothing on stdout", async () => {
    using ana = await join("ana");
    const wrong = [
      ["room"],
      ["room", "new"],
      ["room", "new", "room.x", "--mode", "loud"],
      ["room", "add", "room.x"],
      ["room", "role", "room.x", "bob", "king"],
      ["rooms", "extra"],
      ["send"],
      ["send", "room.x", "text", "--lines"],
      ["send", "room.x", "--lines", "--file", "f"],
      ["send", "room.x", "text", "--reply-to", "nothing"],
      ["tail", "room.x", "--since", "yesterday"],
      ["history", "room.x", "--limit", "0"],
      ["history", "room.x", "--limit", "1e3"],
      ["request", "room.x"],
      ["request", "room.x", "text", "--timeout", "-1"],
      ["serve-rpc", "room.x"],
      ["blob", "get", "room.x", "ref"],
      ["worker", "room.x", "--every", "0"],
      ["completion", "tcsh"],
    ];
    for (const args of wrong) {
      const { code, stdout, stderr } = await ana.run(args);
      expect([args.join(" "), code, stdout]).toEqual([args.join(" "), 2, ""]);
      expect(stderr).toMatch(/^(error:|Usage:)/);
    }
  }, 60_000);

  test("an error of the server or this machine exits with 1 and one line with the fix", async () => {
    using ana = await join("ana");
    using bob = await join("bob");
    const subject = freshSubject();
    await ana.ok(["room", "new", subject]);
    const { room_id } = JSON.parse(await ana.ok(["room", "show", subject, "--json"]));
    const refused: [CliPeer, string[]][] = [
      [bob, ["room", "show", room_id]],
      [bob, ["send", subject, "hello"]],
      [bob, ["tail", room_id]],
      [bob, ["history", room_id]],
      [ana, ["room", "new", subject]],
      [ana, ["room", "new", "unibus.user"]],
      [ana, ["room", "add", subject, "nobody-here"]],
      [ana, ["room", "kick", subject, bob.identity.signPubHex]],
      [ana, ["room", "leave", subject]],
      [ana, ["history", subject, "--url", "http://127.0.0.1:1"]],
      [ana, ["rooms", "--url", "ftp://example.org"]],
      [ana, ["rooms", "--identity", "absent.json"]],
      [ana, ["send", subject, "--file", "absent"]],
      [ana, ["send", subject, "--attach", "absent"]],
      [ana, ["blob", "get", subject, "nothing", "--out", "f"]],
      [ana, ["serve-rpc", subject, "--", "no-such-command-anywhere"]],
      [ana, ["tail", subject, "--since", "01ARZ3NDEKTSV4RRFFQ69G5FAV"]],
    ];
    for (const [peer, args] of refused) {
      const { code, stdout, stderr } = await peer.run(args);
      expect([args.join(" "), code, stdout]).toEqual([args.join(" "), 1, ""]);
      expect(stderr).toMatch(/^error: .+ \(.+\)\n$/);
    }
  }, 60_000);

  test("a user without an identity sees how to create one", async () => {
    using folder = new Folder();
    const { code, stderr } = await unibus(folder, ["rooms"], { env: { UNIBUS_URL: server.ready.http } });
    expect(code).toBe(1);
    expect(stderr).toContain("identity new");
  });
});
