/** The parser of a browser's NATS connection: pieces of any size, messages with and without headers, hostile input. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type NatsEvent, NatsParser } from "../../src/client/transport/nats-parser.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);
const joined = (parts: readonly Uint8Array[]) => new Uint8Array(Buffer.concat(parts));

interface Sent {
  readonly event: NatsEvent | null;
  readonly bytes: Uint8Array;
}

const token = fc.stringMatching(/^[A-Za-z0-9_.-]{1,20}$/);
const message = fc
  .record({
    subject: token,
    sid: fc.nat().map(String),
    reply: fc.option(token, { nil: undefined }),
    data: fc.uint8Array({ maxLength: 300 }),
    headers: fc.option(fc.stringMatching(/^[a-z: ]{0,30}$/), { nil: undefined }),
  })
  .map(({ subject, sid, reply, data, headers }): Sent => {
    const head = headers === undefined ? undefined : bytesOf(`NATS/1.0\r\n${headers}\r\n\r\n`);
    const fields = [head === undefined ? "MSG" : "HMSG", subject, sid, ...(reply === undefined ? [] : [reply])];
    const sizes = head === undefined ? [data.length] : [head.length, head.length + data.length];
    const line = bytesOf(`${[...fields, ...sizes].join(" ")}\r\n`);
    const bytes = joined([line, head ?? new Uint8Array(), data, bytesOf("\r\n")]);
    return { event: { kind: "message", subject, sid, reply, data }, bytes };
  });
const line = fc.constantFrom<Sent>(
  { event: { kind: "ping" }, bytes: bytesOf("PING\r\n") },
  { event: { kind: "pong" }, bytes: bytesOf("PONG\r\n") },
  { event: null, bytes: bytesOf("+OK\r\n") },
  { event: { kind: "error", text: "Stale Connection" }, bytes: bytesOf("-ERR 'Stale Connection'\r\n") },
  { event: { kind: "info", json: '{"nonce":"x"}' }, bytes: bytesOf('INFO {"nonce":"x"}\r\n') },
);

test("whatever the pieces are, the same events come out", () => {
  const stream = fc.array(fc.oneof(message, line), { maxLength: 20 });
  const property = fc.property(stream, fc.array(fc.integer({ min: 1, max: 400 }), { maxLength: 60 }), (sent, sizes) => {
    const parser = new NatsParser();
    const all = joined(sent.map(({ bytes }) => bytes));
    const got: NatsEvent[] = [];
    let at = 0;
    for (const size of [...sizes, all.length]) {
      got.push(...parser.take(all.subarray(at, at + size)));
      at = Math.min(all.length, at + size);
    }
    expect(got).toEqual(sent.flatMap(({ event }) => (event === null ? [] : [event])));
  });
  fc.assert(property, { numRuns: 300 });
});

test("a message of 1 MiB in small pieces is joined once", () => {
  const parser = new NatsParser();
  const data = new Uint8Array(1_048_576).fill(7);
  const all = joined([bytesOf(`MSG a 1 ${data.length}\r\n`), data, bytesOf("\r\nPING\r\n")]);
  const got: NatsEvent[] = [];
  for (let at = 0; at < all.length; at += 1_000) got.push(...parser.take(all.subarray(at, at + 1_000)));
  expect(got.map(({ kind }) => kind)).toEqual(["message", "ping"]);
  expect((got[0] as { data: Uint8Array }).data).toEqual(data);
});

describe("a server that does not speak NATS is an error", () => {
  test.each([
    ["an unknown verb", "HTTP/1.1 400 Bad Request\r\n"],
    ["an empty line", "\r\n"],
    ["a message without a size", "MSG a 1\r\n"],
    ["a message with a size that is not a number", "MSG a 1 x\r\n"],
    ["a negative size", "MSG a 1 -5\r\n"],
    ["headers larger than the message", "HMSG a 1 20 10\r\n"],
    ["a payload of another size", "MSG a 1 3\r\nabcdef\r\n"],
    ["a message of more than 2 MiB", "MSG a 1 2097153\r\n"],
    ["a line without an end", "x".repeat(65_537)],
  ])("%s", (_, sent) => {
    expect(() => new NatsParser().take(bytesOf(sent))).toThrow();
  });
});
