/** The order in which a client tries the addresses of the data plane, and the error when all fail. */
import { describe, expect, test } from "bun:test";
import { failureOf, ServerList } from "../../src/client/transport/server-list.ts";
import { UnibusError } from "../../src/wire/errors.ts";

const urls = ["nats://a:1", "wss://a/nats", "nats://b:1", "wss://b/nats"];
const take = (list: ServerList, count: number): string[] => Array.from({ length: count }, () => list.next());

describe("a list of servers", () => {
  test("tries every address once in a round, TCP before WebSocket", () => {
    const round = take(new ServerList(urls), 4);
    expect([...round].sort()).toEqual([...urls].sort());
    expect(round.map((url) => url.startsWith("nats"))).toEqual([true, true, false, false]);
  });

  test("rotates the addresses of one kind", () => {
    const list = new ServerList(urls);
    const first = list.next();
    list.worked(first);
    const second = list.next();
    expect(new Set([first, second])).toEqual(new Set(["nats://a:1", "nats://b:1"]));
  });

  test("begins with the kind that worked last", () => {
    const list = new ServerList(urls);
    const round = take(list, 4);
    list.worked(round[2] ?? "");
    expect(take(list, 4).map((url) => url.startsWith("wss"))).toEqual([true, true, false, false]);
  });

  test("continues a round when it receives the same addresses again, and begins another with new ones", () => {
    const list = new ServerList(urls);
    const tried = take(list, 2);
    list.replace([...urls].reverse());
    expect(tried).not.toContain(list.next());
    list.replace(["nats://c:1"]);
    expect(take(list, 2)).toEqual(["nats://c:1", "nats://c:1"]);
  });
});

test("the error of a round names each address with its reason", () => {
  const refused = new UnibusError("unavailable", "x", { cause: new Error("connection refused") });
  const error = failureOf([
    { url: "nats://a:1", error: refused },
    { url: "wss://a/nats", error: new Error("403") },
  ]);
  expect(error.message).toBe(
    "cannot reach the server's NATS addresses: nats://a:1: connection refused; wss://a/nats: 403 (open one of these ports, or try again)",
  );
});

test("the error of a single WebSocket address has a hint for a reverse proxy", () => {
  const error = failureOf([{ url: "wss://a/nats", error: new Error("Expected 101 status code") }]);
  expect(error.message).toBe(
    "cannot reach the server's NATS addresses: wss://a/nats: Expected 101 status code (let the reverse proxy forward WebSockets, or try again)",
  );
});
