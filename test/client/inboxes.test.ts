/** A peer's inboxes: subscribed only while needed, and unsubscribed when flooded. Source: docs/protocol/logins.md. */
import { expect, test } from "bun:test";
import { Inboxes, waitingAt } from "../../src/client/transport/inboxes.ts";
import { LiveMessage } from "../../src/client/transport/live-message.ts";

const endpoint = "E".repeat(43);
const messageTo = (subject: string) => new LiveMessage(subject, new Uint8Array(), undefined, 1);

function replies() {
  let changes = 0;
  const made = new Inboxes(endpoint, () => {
    changes += 1;
  });
  return { made, changes: () => changes };
}

test("an inbox session lasts from the first open request to the last, and then a new one starts", () => {
  const { made, changes } = replies();
  expect(made.subjects).toEqual([]);
  const first = made.openRequest(() => undefined);
  const second = made.openRequest(() => undefined);
  const session = first.subject.slice(0, first.subject.lastIndexOf("."));
  expect(session).toMatch(new RegExp(`^_INBOX\\.${endpoint}\\.r\\.[0-9a-f]{32}$`));
  expect(second.subject.startsWith(`${session}.`)).toBe(true);
  expect([made.subjects, changes(), waitingAt(first.subject)]).toEqual([[`${session}.>`], 1, endpoint]);
  first[Symbol.dispose]();
  expect([made.subjects, changes()]).toEqual([[`${session}.>`], 1]);
  second[Symbol.dispose]();
  expect([made.subjects, changes()]).toEqual([[], 2]);
  const third = made.openRequest(() => undefined);
  expect(third.subject.startsWith(session)).toBe(false);
});

test("over 100 unmatched messages a second replace the session; open requests keep their inbox", () => {
  const { made } = replies();
  const got: string[] = [];
  const waiting = made.openRequest(() => got.push("answer"));
  const before = made.subjects;
  const junk = messageTo(`${(before[0] ?? "").slice(0, -1)}junk`);
  for (let i = 0; i < 100; i++) made.take(junk);
  expect(made.subjects).toEqual(before);
  made.take(junk);
  expect(made.subjects).toEqual([waiting.subject]);
  made.take(messageTo(waiting.subject));
  expect(got).toEqual(["answer"]);
  const next = made.openRequest(() => undefined);
  expect(made.subjects).toHaveLength(2);
  expect(next.subject.startsWith((before[0] ?? "").slice(0, -1))).toBe(false);
  for (const inbox of [waiting, next]) inbox[Symbol.dispose]();
  expect(made.subjects).toEqual([]);
});

test("a subject in a connection's ack inbox is not a reply subject", () => {
  const token = "0".repeat(32);
  expect(waitingAt(`_INBOX.${endpoint}.r.${token}.${token}`)).toBe(endpoint);
  expect(waitingAt(`_INBOX.${endpoint}.a.${token}.${token}`)).toBeNull();
});
