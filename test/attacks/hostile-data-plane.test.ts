/**
 * A hostile NATS server: it acknowledges messages that it did not store, delivers to inboxes without a request, and
 * names reply subjects so that a client writes where the server wants. The client must refuse or report each of these,
 * and nothing may reach the application. Most tests share one scene: bob reads through a proxy that alters what it
 * carries. Source: docs/protocol/durables.md, docs/protocol/limits.md, docs/threat-model.md.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { newRoomKey } from "../../src/client/crypto/keys.ts";
import { streamName } from "../../src/wire/names.ts";
import { newUlid } from "../../src/wire/ulid.ts";
import { type Server, until } from "../support/executable.ts";
import type { Carried, Tamper } from "../support/hostile-nats.ts";
import { HostileScene, rewritten } from "../support/hostile-scene.ts";
import { withJson } from "../support/hostile-server.ts";
import { sealNow } from "../support/keys-now.ts";

let server: Server;
let admin: Identity;
let scene: HostileScene;

beforeAll(async () => {
  ({ server, admin } = await HostileScene.server());
  scene = await HostileScene.open(server, { admin });
});
afterEach(() => {
  scene.hostile.tamper = (message) => [message];
});
afterAll(async () => {
  await scene[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

const isAck = ({ subject }: Carried) => subject.startsWith(`_INBOX.${scene.bob.identity.endpoint}.a.`);
const said = (message: Carried, json: unknown): Carried => ({ ...message, data: Buffer.from(JSON.stringify(json)) });
const stream = () => streamName(scene.mine.id);

/** Alters the acks that bob receives. */
function acks(alter: (message: Carried) => readonly Carried[]): Tamper {
  return (message) => (isAck(message) ? alter(message) : [message]);
}

const stored = async () => (await scene.mine.history({ limit: 1 })).lastSeq;

describe("an ack", () => {
  const lies: Readonly<Record<string, readonly [() => unknown, string]>> = {
    "of another room's stream": [() => ({ stream: streamName(newUlid()), seq: 7 }), "forbidden"],
    "of no stream": [() => ({ stream: "", seq: 7 }), "forbidden"],
    "without a sequence": [() => ({ stream: stream() }), "forbidden"],
    "with an invalid sequence": [() => ({ stream: stream(), seq: "7" }), "forbidden"],
    "that calls the first attempt a copy": [() => ({ stream: stream(), seq: 1, duplicate: true }), "forbidden"],
    "that refuses": [() => ({ error: { code: 503, err_code: 10_077 }, stream: stream() }), "quota"],
    "that refuses for another reason": [() => ({ error: {} }), "unavailable"],
  };
  for (const [what, [lie, code]] of Object.entries(lies)) {
    test(`${what} is an error for the sender: ${code}`, async () => {
      scene.hostile.tamper = acks((message) => [said(message, lie())]);
      await expect(scene.theirs.send("is it stored?")).rejects.toMatchObject({ code });
    });
  }

  test("that is junk is ignored: the message is retried until its timeout", async () => {
    scene.hostile.tamper = acks((message) => [said(message, "stored!"), { ...message, data: Buffer.from("{") }]);
    await expect(scene.theirs.send("is it stored?", { timeoutMs: 300 })).rejects.toMatchObject({ code: "timeout" });
  });

  test("that is lost causes a second attempt with the same id, and the message is stored once", async () => {
    const before = await stored();
    let lost = 0;
    scene.hostile.tamper = acks((message) => (lost++ === 0 ? [] : [message]));
    const published = scene.hostile.published.length;
    const { id, seq } = await scene.theirs.send("once");
    expect(seq).toBe(before + 1);
    expect(await stored()).toBe(before + 1);
    const copies = scene.hostile.published.slice(published).filter(({ subject }) => subject === scene.mine.subject);
    const dedupIds = copies.map(({ headers }) => /Nats-Msg-Id: *(\S+)/.exec(String(headers))?.[1]);
    expect(dedupIds).toEqual([`${scene.bob.identity.endpoint}.${id}`, `${scene.bob.identity.endpoint}.${id}`]);
    expect(copies[0]?.data).toEqual(copies[1]?.data as Buffer);
  }, 20_000);

  test("that the server sends without a message changes nothing", async () => {
    const { endpoint } = scene.bob.identity;
    // A guessed inbox has no subscriber.
    for (const tail of ["A".repeat(22), `${"0".repeat(32)}.${"0".repeat(32)}`]) {
      for (const kind of ["a", "r"]) expect(scene.hostile.inject(`_INBOX.${endpoint}.${kind}.${tail}`, "{}")).toBe(0);
    }
    expect((await scene.theirs.send("still sound")).seq).toBeGreaterThan(0);
  });
});

describe("a request", () => {
  test("whose reply subject is another's inbox, a room, JetStream or a notice is delivered, and not answered there", async () => {
    const stop = await scene.theirs.respond(({ text }) => `answer to ${text}`);
    const { endpoint } = scene.ana.identity;
    const inbox = `${"0".repeat(32)}.${"1".repeat(32)}`;
    const replies = [
      `_INBOX.${scene.cleo.identity.endpoint}.r.${inbox}`,
      `_INBOX.${endpoint}.a.${inbox}`,
      `_INBOX.${endpoint}.r.short`,
      `_INBOX.${endpoint}.r.${inbox}.x`,
      `_INBOX.${endpoint}.r.${"A".repeat(22)}`,
      `_INBOX.${endpoint}.r.*`,
      scene.mine.subject,
      `$JS.ACK.${stream()}.x.1.1.1.1.1`,
      `unibus.user.${endpoint}.revoked`,
      `_DELIVER.${endpoint}.${scene.mine.id}.main`,
    ];
    const before = scene.hostile.published.length;
    for (const [i, reply] of replies.entries()) {
      const bytes = await scene.frame({ by: scene.ana.identity, text: `bait ${i}` });
      scene.hostile.inject(scene.mine.subject, bytes, reply);
    }
    await until("bob has received all", () => scene.texts.includes(`bait ${replies.length - 1}`));
    // An honest request after them gets its answer on its own reply subject.
    expect((await scene.mine.request("honest?")).text).toBe("answer to honest?");
    const written = scene.hostile.published.slice(before).map(({ subject }) => subject);
    expect(written.filter((subject) => subject.startsWith("_INBOX."))).toHaveLength(1);
    expect(written.filter((subject) => replies.includes(subject))).toEqual([]);
    stop();
  });

  test("is answered once, however often the server repeats it", async () => {
    const asked: string[] = [];
    const stop = await scene.theirs.respond(({ text }) => {
      asked.push(text);
      return "yes";
    });
    const shown: Tamper = (message) => [message, message, { ...message, reply: message.reply?.replace(/.$/, "_") }];
    scene.hostile.tamper = (message) => (message.subject === scene.mine.subject ? shown(message) : [message]);
    expect((await scene.mine.request("once?")).text).toBe("yes");
    expect(asked).toEqual(["once?"]);
    stop();
  });

  test("gets no reply from a stranger, for another request, of another room, altered or junk", async () => {
    const { ana, cleo, eve, hostile } = scene;
    const stop = await scene.mine.respond(() => "the true answer");
    const isReply = ({ subject }: Carried) => subject.startsWith(`_INBOX.${scene.bob.identity.endpoint}.r.`);
    const forged = async (re: string) => [
      await scene.frame({ by: eve, text: "of a stranger", re }),
      await scene.frame({ by: cleo.identity, text: "for another request", re: newUlid() }),
      await scene.frame({ by: cleo.identity, text: "for none" }),
      await scene.frame({ by: cleo.identity, text: "of another room", re, roomId: newUlid() }),
      rewritten(await scene.frame({ by: cleo.identity, text: "renamed", re }), { from: ana.identity.endpoint }),
      Buffer.from("junk"),
      Buffer.from(""),
    ];
    hostile.tamper = (message) => (isReply(message) ? [] : [message]);
    const published = hostile.published.length;
    const asking = scene.theirs.request("who are you?", { timeoutMs: 10_000 });
    await until("the request arrived", () => hostile.published.length > published);
    const request = hostile.published[published];
    const { id } = JSON.parse(String(request?.data)) as { id: string };
    for (const bytes of await forged(id)) hostile.inject(request?.reply ?? "", bytes);
    const answer = await scene.frame({ by: ana.identity, text: "the true answer", re: id });
    hostile.inject(request?.reply ?? "", answer);
    expect((await asking).text).toBe("the true answer");
    stop();
  });

  test("in a persistent room causes no suspicion: the server's own ack arrives on the same subject", async () => {
    // Uses a scene of its own: in the shared one, earlier injected messages may still be in flight.
    await using at = await HostileScene.open(server, { admin });
    const stop = await at.mine.respond(() => "here");
    expect((await at.theirs.request("where?")).text).toBe("here");
    stop();
    await expect(at.theirs.request("and now?", { timeoutMs: 200 })).rejects.toMatchObject({ code: "timeout" });
    expect(at.suspicious).toEqual([]);
  });
});

describe("a message that the server holds back from one connection", () => {
  test("is recovered in a persistent room at the next reconnect", async () => {
    await using at = await HostileScene.open(server, { admin });
    at.hostile.tamper = (message) => (message.subject === at.mine.subject ? [] : [message]);
    for (let i = 0; i < 3; i++) await at.mine.send(`hidden ${i}`);
    at.hostile.tamper = (message) => [message];
    // Nothing indicates the loss until then: a quiet room looks the same.
    expect(at.texts).toEqual([]);
    at.hostile.proxy.cutAll();
    await until("bob has received them", () => at.texts.length === 3);
    expect(at.texts).toEqual(["hidden 0", "hidden 1", "hidden 2"]);
    expect(at.suspicious).toEqual([]);
  });
});

describe("a durable's delivery", () => {
  test("is acknowledged to its own consumer only, whatever subject the server names", async () => {
    await using at = await HostileScene.open(server, { admin });
    const got: string[] = [];
    await using _durable = await at.theirs.durable(({ text }) => got.push(text));
    await at.mine.send("kept");
    await until("bob has received it", () => got.includes("kept"));
    const before = at.hostile.published.length;
    const deliver = `_DELIVER.${at.bob.identity.endpoint}.${at.mine.id}.main`;
    const subjects = [`$JS.ACK.${streamName(newUlid())}.x.1.1.1.1.1`, at.mine.subject, "$JS.API.STREAM.DELETE.x"];
    for (const subject of subjects) {
      at.hostile.inject(deliver, await at.frame({ by: at.ana.identity, text: "bait" }), subject);
    }
    await at.mine.send("kept, too");
    await until("bob has received it", () => got.includes("kept, too"));
    expect(got).toEqual(["kept", "kept, too"]);
    const written = at.hostile.published.slice(before).map(({ subject }) => subject);
    expect(written.every((subject) => subject.startsWith(`$JS.ACK.${streamName(at.mine.id)}.`))).toBe(true);
  });
});

describe("a durable", () => {
  const isBind = ({ method, target }: { readonly method: string; readonly target: string }) =>
    method === "PUT" && target.includes("/durable");

  test("is bound only once its delivery subject is subscribed, so that no delivery is lost", async () => {
    await using at = await HostileScene.open(server, { admin });
    const deliver = `_DELIVER.${at.bob.identity.endpoint}.${at.mine.id}.main`;
    const wasSubscribed: boolean[] = [];
    at.hostile.http.pretend((asked) => {
      if (isBind(asked)) wasSubscribed.push(at.hostile.followed.includes(deliver));
      return null;
    });
    await using _durable = await at.theirs.durable(() => undefined);
    expect(wasSubscribed).toEqual([true]);
  });

  test("is refused if the server names another delivery subject", async () => {
    await using at = await HostileScene.open(server, { admin });
    at.hostile.http.rewrite((answer, asked) => {
      if (!isBind(asked)) return answer;
      const json = JSON.parse(answer.body.toString()) as { deliver: string };
      return withJson(answer, { ...json, deliver: at.mine.subject });
    });
    await expect(at.theirs.durable(() => undefined)).rejects.toMatchObject({ code: "forbidden" });
  });
});

describe("a server that wants plaintext", () => {
  test("gets nothing by claiming that the room is unencrypted: the client stops using the room", async () => {
    await using at = await HostileScene.open(server, { admin });
    const inClear = { encrypt: false, persist: true, sign_msgs: false };
    at.hostile.http.rewrite((answer, asked) => {
      const isMeant = /^\/(rooms\/\w+|members\/[\w-]+\/rooms)$/.test(asked.target) && answer.status === 200;
      if (!isMeant) return answer;
      const json = JSON.parse(answer.body.toString()) as object | object[];
      const lied = Array.isArray(json)
        ? json.map((one) => ({ ...one, policy: inClear }))
        : { ...json, policy: inClear };
      return { ...answer, body: Buffer.from(JSON.stringify(lied)) };
    });
    const before = at.hostile.published.length;
    await at.theirs.send("a secret");
    const sent = at.hostile.published.slice(before).map(({ data }) => String(data));
    expect(sent).toHaveLength(1);
    expect(sent.join()).not.toContain(Buffer.from("a secret").toString("base64").slice(0, 8));
    await expect(at.theirs.refresh()).rejects.toMatchObject({ code: "room_forked" });
    await expect(at.theirs.send("another secret")).rejects.toMatchObject({ code: "room_forked" });
    expect(at.hostile.published.slice(before + 1).filter(({ subject }) => subject === at.mine.subject)).toEqual([]);
  });

  test("gets nothing with a key of its own: nothing is sealed with it", async () => {
    await using at = await HostileScene.open(server, { admin });
    const made = sealNow(newRoomKey(), at.bob.identity.kexPub);
    at.hostile.http.alter("/key", (key: object) => ({ ...key, sealed_key: made }));
    const before = at.hostile.published.length;
    await expect(at.theirs.send("a secret")).rejects.toMatchObject({ code: "room_forked" });
    expect(at.hostile.published.length).toBe(before);
  });
});
