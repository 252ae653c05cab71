/**
 * A server that alters its history replies: frames of other rooms, altered, repeated or reordered frames. The client
 * drops and counts every frame that no member sent in this room; it cannot detect omitted ones.
 * Source: docs/protocol/frames.md, docs/protocol/history.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { type Message, modes } from "../../src/client/index.ts";
import { type Server, until } from "../support/executable.ts";
import { HostileScene, rewritten } from "../support/hostile-scene.ts";

let server: Server;
let admin: Identity;
let scene: HostileScene;

/** The reply of a history request. */
interface History {
  messages: string[];
  first_seq: number;
  last_seq: number;
  more: boolean;
}

beforeAll(async () => {
  ({ server, admin } = await HostileScene.server());
  scene = await HostileScene.open(server, { admin });
  for (let i = 0; i < 5; i++) await scene.mine.send(`m${i}`);
  await until("bob has received all", () => scene.texts.length === 5);
});
afterAll(async () => {
  await scene[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

const encoded = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
const decoded = (text = "") => Buffer.from(text, "base64");
const texts = (messages: readonly Message[]) => messages.map(({ text }) => text);

/** Returns what bob reads while the server alters its replies, and what he drops in that time. */
async function readAltered(alter: (messages: string[]) => string[] | Promise<string[]>) {
  const before = { ...scene.dropped };
  scene.hostile.http.rewrite(async (answer, asked) => {
    if (!asked.target.includes("/history") || answer.status !== 200) return answer;
    const history = JSON.parse(answer.body.toString()) as History;
    return { ...answer, body: Buffer.from(JSON.stringify({ ...history, messages: await alter(history.messages) })) };
  });
  try {
    const page = await scene.theirs.history();
    const dropped = Object.entries(scene.dropped).map(([reason, count]) => [reason, count - (before[reason] ?? 0)]);
    return { got: texts(page.messages), dropped: Object.fromEntries(dropped.filter(([, count]) => count !== 0)) };
  } finally {
    scene.hostile.http.honest();
  }
}

const all = ["m0", "m1", "m2", "m3", "m4"];

describe("a page of history", () => {
  test("does not contain messages of another room's members, however they are labelled", async () => {
    const other = await scene.ana.createRoom(`room.other-${process.pid}`, modes.matrix);
    await other.membership.add(scene.bob.identity.endpoint);
    await other.send("said elsewhere");
    const [foreign] = (await scene.ana.control.history(other.id, { limit: 1 })).messages;
    const renamed = encoded(rewritten(decoded(foreign), { s: scene.mine.subject }));
    expect(await readAltered((messages) => [foreign ?? "", ...messages, renamed])).toEqual({
      got: all,
      dropped: { wrong_subject: 1, bad_signature: 1 },
    });
  });

  test("does not contain frames of strangers, altered ones and junk", async () => {
    const stranger = encoded(await scene.frame({ by: scene.eve }));
    const junk = ["", "!", encoded(Buffer.from("junk"))];
    const read = await readAltered((messages) => {
      const altered = encoded(rewritten(decoded(messages[2]), { e: 1, re: "01ARZ3NDEKTSV4RRFFQ69G5FAV" }));
      return [stranger, ...messages.slice(0, 2), altered, ...messages.slice(3), ...junk];
    });
    expect(read).toEqual({
      got: ["m0", "m1", "m3", "m4"],
      dropped: { not_a_member: 1, bad_signature: 1, not_json: 3 },
    });
  });

  test("contains each message once, even if the server repeats it", async () => {
    expect((await readAltered((messages) => [...messages, ...messages])).got).toEqual(all);
  });

  test("has the order of the server, and lacks what it omits: that is not detected", async () => {
    expect((await readAltered((messages) => messages.toReversed())).got).toEqual(all.toReversed());
    expect((await readAltered((messages) => messages.slice(3))).got).toEqual(["m3", "m4"]);
  });

  test("in another shape is refused as not an answer of a unibus server", async () => {
    const shapes = [
      { messages: [1] },
      { messages: null },
      { messages: [], first_seq: "1", last_seq: 1, more: false },
      [],
    ];
    for (const shape of shapes) {
      scene.hostile.http.alter("/history", () => shape);
      await expect(scene.theirs.history()).rejects.toMatchObject({ code: "unavailable" });
    }
    scene.hostile.http.honest();
  });
});

describe("a history that never ends", () => {
  test("is read only as far as its reader reads, and ends with it", async () => {
    scene.hostile.http.alter("/history", (history: History) => ({ ...history, last_seq: 2 ** 52, more: true }));
    const messages = scene.theirs.messages({ from: "start" });
    const got: string[] = [];
    for await (const { text } of messages) if (got.push(text) === all.length) break;
    expect(got).toEqual(all);
    scene.hostile.http.honest();
  });
});

test("a member's frame of an epoch that the server does not show is missing from the history, and nothing else is", async () => {
  await using at = await HostileScene.open(server, { admin });
  await at.mine.send("before");
  const poison = await at.frame({ by: at.cleo.identity, epoch: 2 ** 31 - 1, roomKey: await at.key() });
  await at.publish(at.cleo.identity, poison);
  await until("the live frame is dropped", () => at.dropped.epoch_ahead === 1);
  await at.mine.send("after");
  const wanted = ["before", "after"];
  expect(texts((await at.theirs.history()).messages)).toEqual(wanted);
  expect(at.dropped.epoch_ahead).toBe(2);
  const got: string[] = [];
  for await (const { text } of at.theirs.messages({ from: "start" })) if (got.push(text) === wanted.length) break;
  expect(got).toEqual(wanted);
  await at.theirs.send("still here");
  await at.mine.membership.kick(at.cleo.identity.endpoint);
  await at.theirs.refresh();
  expect(texts((await at.theirs.history()).messages)).toEqual([...wanted, "still here"]);
  expect(at.dropped.not_a_member).toBe(1);
});
