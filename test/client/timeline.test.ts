/** The rules of a timeline, one by one. Source: docs/protocol/timeline.md. */
import { describe, expect, test } from "bun:test";
import type { RoomFacts } from "../../src/client/rooms/owners-word.ts";
import { Timeline } from "../../src/client/rooms/timeline.ts";
import type { TimelineMessage } from "../../src/client/rooms/timeline-item.ts";
import { bytesOf } from "../../src/wire/encoding.ts";
import { factsOf, type Given, idOf, messageOf, shownBy } from "../support/timeline.ts";

const facts = factsOf({ owners: ["olga"] });
const text: Given = { id: idOf(1), from: "alice", body: "hello" };
const chain = (n: number, id = "c1") => ({ chain: { id, n } });
let count = 100;
/** A message with its own id. */
const one = (given: Given): TimelineMessage => messageOf({ id: idOf(count++), ...given });
const edit = (given: Given): TimelineMessage => one({ kind: "edit", replyTo: idOf(1), ...given });

/** The timeline of these messages, which is the same forwards and backwards. */
function timelineOf(messages: readonly (Given | TimelineMessage)[], room: RoomFacts = facts) {
  const all = messages.map((given) => ("data" in given ? (given as TimelineMessage) : messageOf(given)));
  const timeline = new Timeline<TimelineMessage>(room);
  const backwards = new Timeline<TimelineMessage>(room);
  for (const message of all) timeline.add(message);
  for (const message of all.toReversed()) backwards.add(message);
  expect(shownBy(backwards)).toEqual(shownBy(timeline));
  return timeline;
}

const first = (messages: readonly (Given | TimelineMessage)[], room?: RoomFacts) => {
  const [item] = timelineOf(messages, room).items();
  if (item === undefined) throw new Error("the timeline is empty");
  return item;
};

test("messages of one sender in one millisecond are in the order of its chain", () => {
  const [lower, higher] = [idOf(50), idOf(51)];
  const messages = [
    { id: higher, from: "alice", body: "first", ...chain(0) },
    { id: lower, from: "alice", body: "second", ...chain(1) },
    { id: idOf(49), from: "bob", body: "before" },
  ];
  const texts = timelineOf(messages)
    .items()
    .map((item) => item.text);
  expect([lower.slice(0, 10) === higher.slice(0, 10), texts]).toEqual([true, ["before", "first", "second"]]);
});

describe("an edit", () => {
  test("by the sender replaces the text", () => {
    const item = first([text, edit({ body: "hello, all" })]);
    expect([item.text, item.edit === null, item.message?.data]).toEqual(["hello, all", false, bytesOf("hello")]);
  });

  test("by another member changes nothing, not even by an owner", () => {
    for (const from of ["bob", "olga"]) expect(first([text, edit({ from, body: "forged" })]).text).toBe("hello");
  });

  test("without a signature changes nothing in a room that signs", () => {
    expect(first([text, edit({ verified: false, body: "forged" })]).text).toBe("hello");
    expect(first([{ ...text, verified: false }, edit({ body: "new" })]).text).toBe("hello");
  });

  test("that is last in its chain counts, whatever its id", () => {
    const [early, late] = [idOf(50), idOf(60)];
    const item = first([
      text,
      edit({ id: late, body: "first", ...chain(3) }),
      edit({ id: early, body: "second", ...chain(4) }),
    ]);
    expect(item.text).toBe("second");
  });

  test("of another chain counts if its id is greater", () => {
    const edits = [
      edit({ id: idOf(60), body: "a", ...chain(9) }),
      edit({ id: idOf(61), body: "b", ...chain(1, "c2") }),
    ];
    expect(first([text, ...edits]).text).toBe("b");
  });

  test("of an edit belongs to the message at the root, over any number of steps", () => {
    const edits = Array.from({ length: 5_000 }, (_, n) =>
      edit({ id: idOf(1_000 + n), replyTo: n === 0 ? idOf(1) : idOf(999 + n), body: `edit ${n}`, ...chain(n) }),
    );
    const timeline = timelineOf([text, ...edits]);
    expect(timeline.items().map((item) => item.text)).toEqual(["edit 4999"]);
    expect(timeline.rootOf({ id: idOf(3_000), from: "alice" })?.id).toBe(idOf(1));
  });

  test("that names itself, or an edit that names it, belongs to nothing", () => {
    const loop = [edit({ id: idOf(70), replyTo: idOf(71) }), edit({ id: idOf(71), replyTo: idOf(70) })];
    const item = first([text, ...loop, edit({ id: idOf(72), replyTo: idOf(72), body: "own" })]);
    expect([item.text, item.edit]).toEqual(["hello", null]);
  });

  test("is not shown once the message is deleted, nor are reactions", () => {
    const deletion = one({ kind: "delete", replyTo: idOf(1) });
    const item = first([text, deletion, edit({ body: "again" }), one({ kind: "react", replyTo: idOf(1), body: "👍" })]);
    expect([item.text, item.message, item.edit, item.reactions]).toEqual(["", null, null, []]);
  });

  test("that was deleted itself gives back the text before it", () => {
    const [older, newer] = [edit({ body: "older", ...chain(1) }), edit({ body: "newer", ...chain(2) })];
    expect(first([text, older, newer, one({ kind: "delete", replyTo: newer.id })]).text).toBe("older");
  });

  test("that is not UTF-8 is shown with U+FFFD", () => {
    expect(first([text, edit({ data: Uint8Array.of(0x61, 0xff, 0x62) })]).text).toBe("a\ufffdb");
  });
});

describe("a deletion", () => {
  const deletion = (given: Given) => one({ kind: "delete", replyTo: idOf(1), ...given });

  test("by the sender counts, one by another member does not", () => {
    expect(first([text, deletion({})]).deletion).toEqual({ by: "alice", byOwner: false });
    expect(first([text, deletion({ from: "bob" })]).deletion).toBeNull();
  });

  test("by a present owner counts for every message", () => {
    const item = first([text, deletion({ from: "olga" })]);
    expect([item.deletion, item.text]).toEqual([{ by: "olga", byOwner: true }, ""]);
  });

  test("by one who becomes an owner, or no longer is one, follows the room", () => {
    const timeline = timelineOf([text, deletion({ from: "bob" })]);
    timeline.update(factsOf({ owners: ["bob"] }));
    expect(timeline.items()[0]?.deletion?.by).toBe("bob");
    timeline.update(facts);
    expect(timeline.items()[0]?.text).toBe("hello");
  });

  test("without a signature does not count, and in a room that does not sign only as the sender's own", () => {
    expect(first([text, deletion({ verified: false })]).deletion).toBeNull();
    const unsigned = factsOf({ signs: false, owners: ["olga"] });
    const plain = { ...text, verified: false };
    expect(first([plain, deletion({ verified: false, from: "olga" })], unsigned).deletion).toBeNull();
    expect(first([plain, deletion({ verified: false })], unsigned).deletion?.by).toBe("alice");
  });

  test("with a body that is not a hash is ignored", () => {
    expect(first([text, deletion({ body: "why not" })]).deletion).toBeNull();
    expect(first([text, deletion({ data: new Uint8Array(32) })]).deletion?.by).toBe("alice");
  });

  test("of a reaction or a title takes it back", () => {
    const reaction = one({ kind: "react", from: "bob", replyTo: idOf(1), body: "👍" });
    const title = one({ kind: "title", from: "olga", body: "Team" });
    const taken = [deletion({ from: "bob", replyTo: reaction.id }), deletion({ from: "olga", replyTo: title.id })];
    const timeline = timelineOf([text, reaction, title, ...taken]);
    expect([timeline.items()[0]?.reactions, timeline.title]).toEqual([[], null]);
  });
});

describe("a reaction", () => {
  const react = (given: Given) => one({ kind: "react", replyTo: idOf(1), body: "👍", ...given });

  test("counts once for each sender and emoji, until it is taken back", () => {
    const all = [
      react({ from: "bob" }),
      react({ from: "bob" }),
      react({ from: "carol" }),
      react({ from: "bob", body: "🎉" }),
    ];
    expect(first([text, ...all]).reactions).toEqual([
      { emoji: "👍", from: ["bob", "carol"] },
      { emoji: "🎉", from: ["bob"] },
    ]);
    const back = react({ kind: "unreact", from: "bob" });
    expect(first([text, ...all, back]).reactions[0]).toEqual({ emoji: "👍", from: ["carol"] });
  });

  test("is given or taken back by its own sender's last word in the chain", () => {
    const given = react({ from: "bob", id: idOf(50), ...chain(5) });
    const back = react({ from: "bob", id: idOf(51), kind: "unreact", ...chain(4) });
    expect(first([text, given, back]).reactions).toEqual([{ emoji: "👍", from: ["bob"] }]);
    expect(first([text, given, react({ kind: "unreact", from: "carol" })]).reactions).toHaveLength(1);
  });

  test("that is not an emoji is ignored", () => {
    for (const data of [
      new Uint8Array(),
      Uint8Array.of(0xff),
      bytesOf("a\nb"),
      bytesOf("\u202e"),
      bytesOf("x".repeat(65)),
    ])
      expect(first([text, react({ data })]).reactions).toEqual([]);
  });

  test("to an id that two members used belongs to neither message", () => {
    const timeline = timelineOf([text, { ...text, from: "mallory", body: "send money" }, react({ from: "bob" })]);
    expect(timeline.items().map(({ reactions }) => reactions)).toEqual([[], []]);
    expect(timeline.item(idOf(1))).toBeNull();
  });
});

describe("a title or a list of pins", () => {
  const title = (given: Given) => one({ kind: "title", from: "olga", body: "Team", ...given });
  const at = (version: number, hash = `v${version}`) => ({ statement: { version, hash } });

  test("counts from a present owner only", () => {
    const timeline = timelineOf([title({ from: "bob", body: "Bob's" })]);
    expect(timeline.title).toBeNull();
    timeline.update(factsOf({ owners: ["bob"] }));
    expect(timeline.title).toEqual({ text: "Bob's", by: "bob", isUnsigned: false });
  });

  test("of the highest statement version wins, then the greater id", () => {
    const titles = [title({ body: "newer", ...at(3) }), title({ body: "older", ...at(2) })];
    expect(timelineOf(titles).title?.text).toBe("newer");
    expect(timelineOf([...titles, title({ body: "last", ...at(3) })]).title?.text).toBe("last");
  });

  test("that names a statement which does not exist counts once it does", () => {
    const timeline = timelineOf([title({ body: "real", ...at(3) }), title({ body: "ahead", ...at(4) })]);
    expect(timeline.title?.text).toBe("real");
    timeline.update(factsOf({ owners: ["olga"], version: 4 }));
    expect(timeline.title?.text).toBe("ahead");
    expect(timelineOf([title({ body: "real", ...at(1) }), title({ body: "forged", ...at(2, "v9") })]).title?.text).toBe(
      "real",
    );
  });

  test("is cleaned like a handle, and ignored if it cannot be", () => {
    expect(timelineOf([title({ body: "  Cafe\u0301  " })]).title?.text).toBe("Café");
    for (const body of ["a\u202eb", "x".repeat(101), "\u200b", "two\nlines", ""])
      expect(timelineOf([title({ body: "Team" }), title({ body })]).title?.text).toBe("Team");
  });

  test("pins are the whole list, at most 50 ids", () => {
    const pin = (body: string) => one({ kind: "pin", from: "olga", body });
    const ids = [idOf(3), idOf(1)];
    expect(timelineOf([pin(idOf(9)), pin(ids.join("\n"))]).pins).toEqual(ids);
    expect(timelineOf([pin(idOf(9)), pin("")]).pins).toEqual([]);
    const many = Array.from({ length: 51 }, (_, n) => idOf(n)).join("\n");
    for (const body of [many, "not an id", `${idOf(1)}\n`])
      expect(timelineOf([pin(idOf(9)), pin(body)]).pins).toEqual([idOf(9)]);
  });
});

test("in a room that does not sign, everything is marked as unsigned", () => {
  const unsigned = factsOf({ signs: false });
  const item = first([{ ...text, verified: false }, edit({ verified: false, body: "new" })], unsigned);
  expect([item.text, item.isUnsigned]).toEqual(["new", true]);
  expect(first([text]).isUnsigned).toBe(false);
});

test("of two different messages with one sender and id, every reader shows the same one", () => {
  const timeline = timelineOf([text, { ...text, body: "hello to others" }, edit({ body: "edited" })]);
  expect(timeline.items().map((item) => item.text)).toEqual(["edited"]);
  expect(timelineOf([text, { ...text, body: "hello to others" }]).items()).toHaveLength(1);
});

test("of several messages with one id, an owner deletes the one whose hash is named", () => {
  const hash = (byte: string) => byte.repeat(32);
  const posed = { ...text, from: "mallory", body: "junk", frameHash: hash("bb") };
  const deletion = one({ kind: "delete", from: "olga", replyTo: idOf(1), data: new Uint8Array(32).fill(0xbb) });
  const items = timelineOf([{ ...text, frameHash: hash("aa") }, posed, deletion]).items();
  expect(items.map((item) => item.deletion?.by ?? null)).toEqual([null, "olga"]);
});

test("what waits for an unknown message is bounded, for each sender", () => {
  const timeline = new Timeline<TimelineMessage>(facts);
  const target = (n: number) => idOf(1_000_000 + n);
  timeline.add(one({ kind: "react", from: "bob", replyTo: idOf(1), body: "👍" }));
  for (let n = 0; n < 6_000; n++) {
    timeline.add(one({ kind: "react", from: "mallory", replyTo: target(n), body: "👍" }));
    timeline.add(one({ kind: "edit", from: "mallory", replyTo: target(n), body: "x" }));
  }
  timeline.add(messageOf(text));
  for (const n of [0, 5_999]) timeline.add(messageOf({ id: target(n), from: "carol" }));
  expect(timeline.items().map(({ reactions }) => reactions.length)).toEqual([1, 0, 1]);
});
