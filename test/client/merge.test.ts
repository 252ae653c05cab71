/**
 * Merging of the old and the new connection during a permission change (make before break): no message is lost,
 * duplicated or reordered.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { LiveMessage } from "../../src/client/transport/live-message.ts";
import { Merge } from "../../src/client/transport/merge.ts";

/** A connection that carries some subjects. */
const connection = (...subjects: string[]) => ({ carries: (subject: string) => subjects.includes(subject) });
type FakeConnection = ReturnType<typeof connection>;

function start(): {
  merge: Merge<FakeConnection>;
  got: string[];
  send(from: FakeConnection, ...texts: string[]): void;
} {
  const got: string[] = [];
  const textOf = ({ data }: LiveMessage) => new TextDecoder().decode(data);
  const merge = new Merge<FakeConnection>(textOf, (message) => got.push(textOf(message)));
  const send = (from: FakeConnection, ...texts: string[]) => {
    for (const text of texts) {
      merge.take(from, new LiveMessage("room.a", new TextEncoder().encode(text), undefined, 1));
    }
  };
  return { merge, got, send };
}

describe("merging two connections", () => {
  test("delivers from the older one while both subscribe, and what it lacked once it closes", () => {
    const { merge, got, send } = start();
    const [a, b] = [connection("room.a"), connection("room.a")];
    merge.add(a);
    send(a, "1");
    merge.add(b);
    send(b, "3", "4");
    expect(got).toEqual(["1"]);
    send(a, "2", "3");
    expect(got).toEqual(["1", "2", "3"]);
    merge.remove(a);
    expect(got).toEqual(["1", "2", "3", "4"]);
    send(b, "5");
    expect(got).toEqual(["1", "2", "3", "4", "5"]);
  });

  test("delivers at once a message that has no copies, from either connection", () => {
    const got: string[] = [];
    const merge = new Merge<FakeConnection>(
      () => null,
      ({ subject }) => got.push(subject),
    );
    const [a, b] = [connection("inbox"), connection("inbox")];
    merge.add(a);
    merge.add(b);
    merge.take(b, new LiveMessage("inbox", new Uint8Array(), undefined, 1));
    expect(got).toEqual(["inbox"]);
  });

  test("delivers at once on a subject that only the newer one subscribes to", () => {
    const { merge, got, send } = start();
    const [a, b] = [connection(), connection("room.a")];
    merge.add(a);
    merge.add(b);
    send(b, "1");
    expect(got).toEqual(["1"]);
  });

  test("delivers each message once and in order, for any delays and lifetimes of the connections", () => {
    const total = 40;
    const lives = fc.array(fc.record({ from: fc.nat(total), lasts: fc.integer({ min: 5, max: 15 }) }), {
      maxLength: 3,
    });
    fc.assert(
      fc.property(lives, fc.array(fc.nat(9), { minLength: 400, maxLength: 400 }), (spans, choices) => {
        const { merge, got, send } = start();
        // As in a real swap, each connection subscribes before the one before it ends; each has its own queue.
        const sources: { connection: FakeConnection; queue: string[]; open: boolean }[] = [];
        const open = () => {
          const made = { connection: connection("room.a"), queue: [] as string[], open: true };
          sources.push(made);
          merge.add(made.connection);
        };
        const read = (index: number) => {
          const source = sources[index % sources.length];
          const next = source?.open ? source.queue.shift() : undefined;
          if (source && next !== undefined) send(source.connection, next);
        };
        const drain = (source: (typeof sources)[number]) => {
          for (const text of source.queue.splice(0)) send(source.connection, text);
        };
        const end = (source: (typeof sources)[number]) => {
          if (!source.open || sources.filter((one) => one.open).length < 2) return;
          drain(source);
          for (const other of sources) if (other.open && other !== source) drain(other);
          source.open = false;
          merge.remove(source.connection);
        };
        open();
        for (let number = 0; number < total; number++) {
          for (const { from, lasts } of spans) {
            if (from === number) open();
            if (from + lasts === number)
              end(sources[0]?.open ? sources[0] : (sources.find((one) => one.open) as never));
          }
          for (const source of sources) if (source.open) source.queue.push(String(number));
          for (let turn = 0; turn < 10; turn++) read(choices[(number * 10 + turn) % choices.length] ?? 0);
        }
        for (const source of sources) if (source.open) drain(source);
        for (const source of [...sources]) end(source);
        expect(got).toEqual(Array.from({ length: total }, (_, number) => String(number)));
      }),
    );
  });
});
