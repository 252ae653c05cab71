/**
 * Every order of arrival gives the same timeline, and it is the one that the rules give for all messages at once.
 * UNIBUS_SEED repeats a run. Source: docs/protocol/timeline.md.
 */
import { expect, test } from "bun:test";
import { Timeline, type TimelineChange } from "../../src/client/rooms/timeline.ts";
import type { TimelineMessage } from "../../src/client/rooms/timeline-item.ts";
import { isSoak } from "../support/soak.ts";
import { factsOf, historyOf, randomOf, shownBy, shuffled } from "../support/timeline.ts";
import { expectedOf } from "../support/timeline-oracle.ts";

const histories = isSoak("timeline") ? 100_000 : 2_000;
const seedOf = (): number => Number(process.env.UNIBUS_SEED ?? Math.floor(Math.random() * 2 ** 31));

test(`${histories} random histories in random orders give one timeline each`, () => {
  const first = seedOf();
  let checked = 0;
  for (let seed = first; seed < first + histories; seed++) {
    const random = randomOf(seed);
    const signs = random(4) > 0;
    const before = factsOf({ signs, owners: ["alice", "bob"], version: 1 });
    const facts = factsOf({ signs, owners: random(2) === 0 ? ["alice"] : ["alice", "carol"], version: 3 });
    const messages = historyOf(random, 4 + random(36), signs);
    const expected = expectedOf(messages, facts);
    checked += 1;
    for (let order = 0; order < 2; order++) {
      shuffled(messages, random);
      const timeline = new Timeline<TimelineMessage>(before);
      // The room changes at some moment, and some messages arrive twice.
      const moment = random(messages.length + 1);
      messages.forEach((message, at) => {
        if (at === moment) timeline.update(facts);
        timeline.add(message);
        if (random(8) === 0) timeline.add({ ...(messages[random(at + 1)] as TimelineMessage) });
      });
      timeline.update(facts);
      const shown = shownBy(timeline);
      // `expect` alone takes longer than all the rest.
      if (!Bun.deepEquals(shown, expected)) expect({ seed, shown }).toEqual({ seed, shown: expected });
    }
  }
  expect(checked).toBe(histories);
});

test("the changes of a timeline describe all of it", () => {
  const first = seedOf();
  for (let seed = first; seed < first + 200; seed++) {
    const random = randomOf(seed);
    const signs = random(4) > 0;
    const facts = factsOf({ signs });
    const shown = new Map<string, unknown>();
    const onChange = (change: TimelineChange<TimelineMessage>): void => {
      if (!("item" in change)) return;
      const { what, item } = change;
      expect({ seed, isKnown: shown.has(item.key) }).toEqual({ seed, isKnown: what !== "added" });
      if (what === "removed") shown.delete(item.key);
      else shown.set(item.key, item);
    };
    const timeline = new Timeline<TimelineMessage>(factsOf({ signs, owners: ["bob"], version: 1 }), onChange);
    const messages = shuffled(historyOf(random, 40, signs), random);
    for (const message of messages) timeline.add(message);
    timeline.update(facts);
    // Items are kept between changes: they must not be stale.
    const [now, wanted] = [shownBy(timeline), expectedOf(messages, facts)];
    if (!Bun.deepEquals(now, wanted)) expect({ seed, now }).toEqual({ seed, now: wanted });
    const items = timeline.items();
    // The objects are the same: an item is built again only after a change of it.
    expect({ seed, same: items.every((item) => shown.get(item.key) === item) }).toEqual({ seed, same: true });
    expect(shown.size).toBe(items.length);
    expect(items.map((item) => timeline.indexOf(item))).toEqual(items.map((_, at) => at));
  }
});
