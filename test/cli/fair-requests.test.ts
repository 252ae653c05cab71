/** Requests of a service wait in turns of their senders, and what waits is bounded. */
import { expect, test } from "bun:test";
import { FairRequests, requestsWaitingMax } from "../../src/cli/peer/fair-requests.ts";

const mib = 1_048_576;
const of = (from: string, size = 1) => ({ from, data: new Uint8Array(size) });

test("senders take turns, each in its own order", () => {
  const waiting = new FairRequests<{ from: string; data: Uint8Array }>();
  for (const from of ["a", "a", "a", "b", "c", "c"]) expect(waiting.add(of(from))).toEqual([]);
  const order = Array.from({ length: 7 }, () => waiting.next()?.from);
  expect(order).toEqual(["a", "b", "c", "a", "c", "a", undefined]);
});

test("a sender has a bounded number and size of waiting requests, and others are not refused for it", () => {
  const waiting = new FairRequests<{ from: string; data: Uint8Array }>();
  for (let n = 0; n < requestsWaitingMax.ofSender; n++) expect(waiting.add(of("a"))).toEqual([]);
  const more = of("a");
  expect(waiting.add(more)).toEqual([more]);
  expect(waiting.add(of("b"))).toEqual([]);
  waiting.next();
  expect(waiting.add(more)).toEqual([]);
  for (let n = 0; n < 8; n++) expect(waiting.add(of("large", mib))).toEqual([]);
  const large = of("large", mib);
  expect(waiting.add(large)).toEqual([large]);
});

test("beyond the total the sender with the most loses its newest request", () => {
  const waiting = new FairRequests<{ from: string; data: Uint8Array }>();
  for (let n = 0; n < 8; n++) for (let i = 0; i < 8; i++) expect(waiting.add(of(`member ${n}`, mib))).toEqual([]);
  const honest = of("honest", mib);
  const dropped = waiting.add(honest);
  expect(dropped.map(({ from }) => from)).toEqual(["member 0"]);
  const left: string[] = [];
  for (let next = waiting.next(); next !== undefined; next = waiting.next()) left.push(next.from);
  expect([left.length, left.includes("honest")]).toEqual([64, true]);
});
