/**
 * Attacks on `PUT /rooms/{id}/restore`, with which an owner brings a room back to a server that was restored from an
 * older backup (the "way back"). A caller may restore only what the owners signed: forged chains, wrong member lines,
 * wrong keys, deleted rooms and restores outside the time window are refused and change nothing. Large bodies must not
 * block other requests.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { RoomStore } from "../../src/contracts/store.ts";
import { WayBackStore } from "../../src/contracts/way-back.ts";
import { type Restore, restoreBytesMax } from "../../src/wire/api.ts";
import { until } from "../support/executable.ts";
import { bootInProcess, type InProcess } from "../support/in-process.ts";
import { signNow } from "../support/keys-now.ts";
import { longestBlock } from "../support/longest-block.ts";
import { call, createBody, freshSubject, newRoom, policy, type Reply, send, signedHeaders } from "../support/peer.ts";
import { bring, openWayBack, restore, Story, usersOf } from "../support/way-back.ts";

type Given = Restore["statements"][0];
type Name = "ana" | "bob" | "cleo" | "dan" | "eve";
let running: InProcess;
let people: Record<Name | "admin", Identity>;

beforeAll(async () => {
  const rooms = { per_user: 40, create: { agent: "admin" } };
  running = await bootInProcess({ settings: { rooms } });
  people = await usersOf(running, "ana", "bob", "cleo", "dan", "eve");
  await openWayBack(running);
}, 60_000);
afterAll(() => running[Symbol.asyncDispose]());

const wayBack = () => running.bus.service(WayBackStore) as WayBackStore;
const ask = (who: Identity, method: string, target: string, body?: unknown): Promise<Reply> =>
  call(running.server.ready.http, who, method, target, body);

/** Returns everything that the store holds of a room. */
async function stored({ id }: Story) {
  const rooms = running.bus.service(RoomStore) as RoomStore;
  return [await rooms.getRoom(id), await rooms.listStays(id), await rooms.listStatements(id, 1, 1_000)];
}

/** Sends a restoration that must be refused and change nothing. */
async function refused(who: Identity, story: Story, body: unknown, status: number, ...said: string[]): Promise<Reply> {
  const before = await stored(story);
  const reply = await restore(running, who, story.id, body);
  expect([reply.status, reply.text]).toEqual([status, expect.any(String)]);
  for (const part of said) expect(reply.json.error).toContain(part);
  expect(await stored(story)).toEqual(before);
  return reply;
}

/** Creates a room of ana's with bob and cleo; cleo was removed, and bob is an owner, too. The server has version 2. */
async function known(): Promise<Story> {
  const { ana, bob, cleo } = people;
  const story = Story.of(ana).add(ana, bob, cleo).rekey(ana, cleo).role(ana, bob, "owner").rekey(bob);
  await bring(running, ana, story, 0, 2);
  return story;
}

/** The head of a restoration for a raw socket: signed for `body`; `bytes` may declare another length. */
function head(who: Identity, { id }: Story, body: string, bytes = body.length): string {
  const target = `/rooms/${id}/restore`;
  const url = running.server.ready.http;
  const signed = Object.entries(signedHeaders(who, { url, method: "PUT", target, body }));
  const lines = signed.map(([name, value]) => `${name}: ${value}`);
  return [`PUT ${target} HTTP/1.1`, `Host: ${new URL(url).host}`, `Content-Length: ${bytes}`, ...lines, "", ""].join(
    "\r\n",
  );
}

/** Opens a connection to the server without sending anything. */
function dialled() {
  const socket = connect({ port: Number(new URL(running.server.ready.http).port), host: "127.0.0.1" });
  socket.on("error", () => undefined);
  return socket;
}

describe("a restoration", () => {
  test("is refused while the way back is closed, before a byte of its body is read, and when its time is over", async () => {
    const { ana } = people;
    const story = Story.of(ana);
    const began = async () => {
      const socket = dialled();
      let heard = "";
      socket.on("data", (bytes) => {
        heard += bytes.toString();
      });
      socket.write(head(ana, story, "", 30 * 1_048_576));
      try {
        await until("the request is answered", () => heard.includes("\r\n\r\n"), 5_000);
        return heard.split("\r\n")[0];
      } finally {
        socket.destroy();
      }
    };
    try {
      await wayBack().closeWayBack();
      expect(await began()).toContain(" 409 ");
      await openWayBack(running, -1);
      expect(await began()).toContain(" 409 ");
      await refused(ana, story, story.body(ana, 0), 409, "the way back is closed");
      const hash = "0".repeat(64);
      const there = newRoom(ana, freshSubject(), policy());
      expect((await ask(ana, "POST", "/rooms", createBody(there))).status).toBe(201);
      const take = (id: string) => ask(people.admin, "PUT", `/rooms/${id}/way-back`, { hash });
      expect([(await take(there.state.roomId)).status, (await take(story.id)).status]).toEqual([409, 404]);
    } finally {
      await openWayBack(running);
    }
    expect((await restore(running, ana, story.id, story.body(ana, 0))).status).toBe(200);
  });

  test("is allowed for an owner of its newest version only", async () => {
    const { ana, bob, cleo, eve, admin } = people;
    const story = await known();
    const body = story.body(ana, 2);
    for (const who of [cleo, eve, admin]) await refused(who, story, body, 403, "not an owner of the room in version 5");
    const demoted = story.at(5).role(bob, ana, "member");
    await refused(ana, demoted, demoted.body(ana, 2), 403);
    expect((await call(running.server.ready.http, null, "PUT", `/rooms/${story.id}/restore`, body)).status).toBe(401);
    await refused(await generateIdentity(), story, body, 401);
    // A member who adds themselves as an owner in the newest statement did not sign it as an owner.
    const stolen = story.at(2).role(ana, cleo, "owner");
    const { text } = stolen.statement(3);
    const by = { text, by: cleo.signPubHex, sig: Buffer.from(signNow(cleo, text)).toString("base64") };
    const forged = { ...stolen.body(cleo, 2), statements: [by] };
    await refused(cleo, stolen, forged, 400, "statement 3 is not signed by an owner of the version before it");
  });

  test("of a chain that was forged anywhere is refused, with the first invalid line", async () => {
    const { ana, bob, eve } = people;
    const story = await known();
    const sign = (text: string, by: Identity) => ({
      ...{ text, by: by.signPubHex, sig: Buffer.from(signNow(by, text)).toString("base64") },
    });
    const line = (version: number, at: number, value: string, by = ana) => {
      const lines = story.statement(version).text.split("\n");
      lines[at] = value;
      return sign(lines.join("\n"), by);
    };
    const right = story.body(ana, 2);
    const [third, fourth, fifth] = right.statements as [Given, Given, Given];
    const sig = `${"A".repeat(85)}A==`;
    const wrong: readonly [Restore["statements"], ...string[]][] = [
      [[{ ...third, sig }, fourth, fifth], "statement 3 is not signed"],
      [[{ ...third, by: eve.signPubHex }, fourth, fifth], "statement 3 is not signed"],
      [[sign(third.text, bob), fourth, fifth], "statement 3 is not signed"],
      [[third, sign(fourth.text, bob), fifth], "statement 4 is not signed"],
      [[third, fifth], "statement 5, line 3 (version)", "expected version 4"],
      [[fourth, fifth], "statement 4, line 3 (version)", "statements before it are missing"],
      [[third, fourth, fourth, fifth], "statement 4, line 3 (version)", "expected version 5"],
      [[line(3, 3, "1".repeat(64)), fourth, fifth], "statement 3, line 4 (prev)"],
      [[third, line(4, 3, "1".repeat(64)), fifth], "statement 4, line 4 (prev)"],
      [[line(3, 1, "01J00000000000000000000000"), fourth, fifth], "statement 3, line 2 (room_id)"],
      [[line(3, 4, "room.stolen"), fourth, fifth], "statement 3, line 5 (subject)"],
      [[line(3, 5, "000"), fourth, fifth], "statement 0 of the list: line 8 (key_check)"],
      [[line(3, 5, "110"), fourth, fifth], "statement 3, line 6 (policy)"],
      [[line(3, 6, "4"), fourth, fifth], "statement 3, line 7 (epoch)"],
      [[line(3, 7, story.statement(2).text.split("\n")[7] ?? ""), fourth, fifth], "statement 3, line 8 (key_check)"],
      [[third, line(4, 7, "2".repeat(64)), fifth], "statement 4, line 8 (key_check)"],
      [[third, fourth, { ...fifth, version: 4 }], "statement 5, line 3 (version)"],
      [
        [third, fourth, { ...fifth, text: `${fifth.text}\n` }],
        "the last statement: a statement must have 10 lines, not 11",
      ],
    ];
    for (const [statements, ...said] of wrong) await refused(ana, story, { ...right, statements }, 400, ...said);
    // A chain that diverges from the statements that the server was restored with is not a conflict: it is another
    // room.
    await openWayBack(running);
    const other = story.at(1).rekey(ana).rekey(ana);
    await refused(
      ana,
      other,
      other.body(ana, 1),
      400,
      "statement 2, line",
      "it differs from the statement in the bus's backup",
    );
    expect((await ask(people.admin, "GET", "/way-back")).text).not.toContain(other.id);
  });

  test("with other member lines than the owners signed is refused", async () => {
    const { ana, bob, cleo, eve } = people;
    const story = await known();
    const right = story.body(ana, 2);
    const of = (who: Identity) => right.members.findIndex(({ endpoint }) => endpoint === who.endpoint);
    const changed = (who: Identity, change: Partial<Restore["members"][0]>) => {
      return right.members.with(of(who), { ...(right.members[of(who)] as Restore["members"][0]), ...change });
    };
    const stranger = { ...right.members[0], endpoint: eve.endpoint, sign_pub: eve.signPubHex, kex_pub: eve.kexPubHex };
    const wrong: readonly [unknown[], ...string[]][] = [
      [[], "line 9 (owners)"],
      [right.members.slice(1), "line"],
      [[...right.members, stranger], "line"],
      [changed(bob, { role: "member" }), "line 9 (owners)"],
      [changed(cleo, { until: 3 }), "line 10 (members)"],
      [changed(cleo, { until: 0 }), "line 10 (members)"],
      [changed(bob, { kex_pub: eve.kexPubHex }), "line 10 (members)"],
      [changed(bob, { sign_pub: eve.signPubHex }), "its sign_pub belongs to another endpoint"],
      [changed(bob, { since: 9 }), "its epochs are invalid"],
      [changed(cleo, { until: 1 }), "its epochs are invalid"],
      [[...right.members, right.members[0]], "it overlaps another line"],
    ];
    for (const [members, ...said] of wrong) await refused(ana, story, { ...right, members }, 400, ...said);
    expect((await restore(running, ana, story.id, right)).status).toBe(200);
  });

  test("cannot undo what the server knows of its members, even with an owner's signature", async () => {
    const { ana, bob, cleo, dan } = people;
    const story = Story.of(ana).add(ana, bob, cleo).rekey(ana, cleo);
    await bring(running, ana, story, 0);
    const edit = (change: (line: Restore["members"][0]) => Partial<Restore["members"][0]> | null) =>
      story.at(3).next(ana, { kind: "role", endpoint: "", role: "member" }, (state) => {
        const lines = state.lines.flatMap((line) => {
          const made = change({ ...line, kex_sig: "", left: false, handle: "" });
          return made === null ? [] : [{ ...line, ...made }];
        });
        return { ...state, lines };
      });
    const isOf = (who: Identity, line: { readonly endpoint: string }) => line.endpoint === who.endpoint;
    const opened = edit((line) => (isOf(cleo, line) ? { until: 0 } : {}));
    await refused(
      ana,
      opened,
      { ...opened.body(ana, 3), keys: [] },
      400,
      "on the bus it has ended already, and differs",
    );
    const gone = edit((line) => (isOf(cleo, line) ? null : {}));
    await refused(ana, gone, gone.body(ana, 3), 400, `the line of ${cleo.endpoint} since epoch 1 is missing`);
    const shut = edit((line) => (isOf(bob, line) ? { until: 2 } : {}));
    await refused(ana, shut, shut.body(ana, 3), 400, "on the bus it was still open in epoch 2");
    const swapped = edit((line) => (isOf(bob, line) ? { kex_pub: dan.kexPubHex } : {}));
    await refused(ana, swapped, swapped.body(ana, 3), 400, "its kex_pub differs from the bus's");
    const early = story.at(3).next(ana, { kind: "add", members: [] }, (state) => {
      const { endpoint, signPubHex: sign_pub, kexPubHex: kex_pub } = dan;
      return { ...state, lines: [...state.lines, { endpoint, sign_pub, kex_pub, role: "member", since: 1, until: 0 }] };
    });
    early.people.set(dan.endpoint, dan);
    await refused(ana, early, early.body(ana, 3), 400, "it starts before the bus's own epoch");
    // Keys that are not the keys of the server's users are refused, even if the server does not know the room yet.
    const evil = Story.of(ana).next(ana, { kind: "add", members: [] }, (state) => {
      const { endpoint, signPubHex: sign_pub } = dan;
      const line = { endpoint, sign_pub, kex_pub: ana.kexPubHex, role: "member" as const, since: 1, until: 0 };
      return { ...state, lines: [...state.lines, line] };
    });
    evil.people.set(dan.endpoint, dan);
    await refused(ana, evil, evil.body(ana, 0), 400, "its kex_pub differs from that of the user on the bus");
    const stranger = await generateIdentity();
    const unknown = Story.of(ana).add(ana, stranger);
    const body = unknown.body(ana, 0);
    const members = body.members.map((line) => (isOf(stranger, line) ? { ...line, kex_sig: ana.kexSig } : line));
    await refused(ana, unknown, { ...body, members }, 400, "kex_sig");
  });

  test("with any other set of keys than the missing ones is refused", async () => {
    const { ana, bob, cleo } = people;
    const story = await known();
    const right = story.body(ana, 2);
    const [first] = right.keys;
    const wrong: readonly [Restore["keys"], string][] = [
      [[], "is missing"],
      [right.keys.slice(1), "is missing"],
      [[...right.keys, ...right.keys.slice(0, 1)], "is listed twice"],
      [[...right.keys, story.sealed(bob.endpoint, 1)], "is not expected"],
      [[...right.keys, story.sealed(cleo.endpoint, 2)], "is not expected"],
      [[...right.keys, { ...story.sealed(bob.endpoint, 3), epoch: 4 }], "is not expected"],
      [right.keys.with(0, { ...(first as Restore["keys"][0]), endpoint: people.eve.endpoint }), "is missing"],
    ];
    for (const [keys, said] of wrong) await refused(ana, story, { ...right, keys }, 400, said);
    const open = Story.of(ana, policy()).add(ana, bob);
    const key = { ...(first as Restore["keys"][0]), endpoint: ana.endpoint, epoch: 1 };
    await refused(ana, open, { ...open.body(ana, 0), keys: [key] }, 400, "the room is not encrypted");
  });

  test("is refused for the same reasons as creating and adding", async () => {
    const { ana, bob, cleo, dan, eve, admin } = people;
    const place = (subject: string) => Story.of(ana, policy("encrypt"), subject);
    const agent = place(`agent.${freshSubject().slice(5)}`);
    await refused(ana, agent, agent.body(ana, 0), 403, "only admins may create rooms in agent");
    const wild = place("room.>");
    await refused(ana, wild, wild.body(ana, 0), 400, "line 5 (subject)");
    for (let n = 0; n < 40; n++) {
      expect((await ask(eve, "POST", "/rooms", createBody(newRoom(eve, freshSubject(), policy())))).status).toBe(201);
    }
    const full = Story.of(eve);
    await refused(eve, full, full.body(eve, 0), 429, "rooms.per_user");
    // One adder can force at most 100 unaccepted memberships on a user, in rooms of any owners.
    const forced = (by: Identity) => Story.of(by, policy()).add(by, eve, admin).role(by, eve, "owner");
    for (let n = 0; n < 100; n++) {
      const story = forced([ana, bob, cleo, dan][n % 4] as Identity);
      expect((await restore(running, eve, story.id, story.body(eve, 0))).status).toBe(200);
    }
    const oneMore = forced(ana);
    await refused(eve, oneMore, oneMore.body(eve, 0), 429, "has too many unaccepted rooms");
  });

  test("of a deleted room is refused for ever", async () => {
    const { ana } = people;
    const story = await known();
    expect((await ask(ana, "DELETE", `/rooms/${story.id}`)).status).toBe(204);
    for (const bus of [0, 2]) await refused(ana, story, story.body(ana, bus), 410);
    await refused(ana, story, { ...story.body(ana, 2), statements: [] }, 410);
  });

  test("runs alone, and one whose body never arrives does not block others for long", async () => {
    const { ana, bob } = people;
    const [slow, quick] = [Story.of(ana), Story.of(bob)];
    const body = JSON.stringify(slow.body(ana, 0));
    const answer = () => restore(running, bob, quick.id, quick.body(bob, 0));
    let retryAfter: string | null = null;
    let socket = dialled();
    // Either request may win the turn: retry until the one that never arrives holds it.
    await until("the other one is refused", async () => {
      socket.destroy();
      socket = dialled();
      socket.write(head(ana, slow, body) + body.slice(0, 20));
      const { status, headers } = await answer();
      retryAfter = headers.get("retry-after");
      return status === 503;
    });
    expect(retryAfter as unknown as string).toMatch(/^[0-9]+$/);
    socket.destroy();
    await until("its turn comes", async () => (await answer()).status !== 503);
  });

  test("of 32 MiB is read and verified while others are served, and one byte more is refused", async () => {
    const { ana, bob } = people;
    const story = Story.of(ana).add(ana, bob);
    const body = JSON.stringify(story.body(ana, 0));
    const { http } = running.server.ready;
    const target = `/rooms/${story.id}/restore`;
    const put = (text: string) => {
      const headers = signedHeaders(ana, { url: http, method: "PUT", target, body: text });
      return send(`${http}${target}`, { method: "PUT", headers, body: text });
    };
    expect((await put(body + " ".repeat(restoreBytesMax + 1 - body.length))).status).toBe(413);
    // The body has as many unwanted keys as fit: keys are the last thing to be checked.
    const one = JSON.stringify({ ...story.sealed(bob.endpoint, 1), epoch: 1_000_000 });
    const count = Math.floor((restoreBytesMax - body.length) / (one.length + 1)) - 1;
    const keys = Array.from({ length: count }, (_, n) => one.replace("1000000", String(1_000_000 + n)));
    const large = body.replace('"keys":[', `"keys":[${keys.join(",")},`);
    const full = large + " ".repeat(restoreBytesMax - large.length);
    // Another process sends the request: signing and sending 32 MiB would block this process's thread, too.
    const script = `const [url, file, headers] = process.argv.slice(1);
      const reply = await fetch(url, { method: "PUT", headers: JSON.parse(headers), body: Bun.file(file) });
      console.log(reply.status, await reply.text());`;
    const file = running.server.folder.file("large.json");
    await Bun.write(file, full);
    const request = async () => {
      const headers = JSON.stringify(signedHeaders(ana, { url: http, method: "PUT", target, body: full }));
      const child = Bun.spawn([process.execPath, "-e", script, `${http}${target}`, file, headers], { stdout: "pipe" });
      const said = await new Response(child.stdout).text();
      expect(said).toStartWith("400 ");
      expect(said).toContain("is not expected");
    };
    // One slice takes 10 ms, the whole without slices more than 300 ms. A busy machine may block one attempt longer.
    const blocks: number[] = [];
    while (blocks.length < 3 && !blocks.some((ms) => ms < 250)) {
      Bun.gc(true);
      blocks.push(await longestBlock(request));
    }
    expect(Math.min(...blocks)).toBeLessThan(250);
  }, 60_000);
});
