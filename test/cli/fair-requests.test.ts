/** The queue of a service: senders are served in turn, and the number and size of waiting requests are bounded. */
import { expect, test } from "bun:test";
import { FairRequests, requestsWaitingMax } from "../../src/cli/peer/fair-requests.ts";

const mib = 1_048_576;
const of = (from: string, size = 1) => ({ from, data: new Uint8Array(size) });

test("the service serves senders in turn, each in its own order", () => {
  const waiting = new FairRequests<{ from: string; data: Uint8Array }>();
  for (const from of ["a", "a", "a", "b", "c", "c"]) expect(waiting.add(of(from))).toEqual([]);
  const order = Array.from({ length: 7 }, () => waiting.next()?.from);
  expect(order).toEqual(["a", "b", "c", "a", "c", "a", undefined]);
});

test("one sender's waiting requests are bounded in number and size, without refusing other senders", () => {
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

test("beyond the total limit the sender with the most waiting requests loses its newest one", () => {
  const waiting = new FairRequests<{ from: string; data: Uint8Array }>();
  for (let n = 0; n < 8; n++) for (let i = 0; i < 8; i++) expect(waiting.add(of(`member ${n}`, mib))).toEqual([]);
  const honest = of("honest", mib);
  const dropped = waiting.add(honest);
  expect(dropped.map(({ from }) => from)).toEqual(["member 0"]);
  const left: string[] = [];
  for (let next = waiting.next(); next !== undefined; next = waiting.next()) left.push(next.from);
  expect([left.length, left.includes("honest")]).toEqual([64, true]);
});
