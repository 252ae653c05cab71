/**
 * Attack: 100,000 subscriptions with subjects of 3.5 kB, by which one member took 1 GiB of nats-server's memory. The
 * login reply limits the subscriptions of the connection, a connection that exceeds the limit is disconnected, and a
 * protocol line has at most 1 KiB. Source: docs/protocol/limits.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Nats } from "../../src/contracts/nats.ts";
import { Server, until } from "../support/executable.ts";
import { bootInProcess } from "../support/in-process.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { addMembers, call, createRoom, type OwnRoom, policy } from "../support/peer.ts";
import { rawPeer } from "../support/raw-nats.ts";

/** How many subscriptions a connection may have besides those for its rooms and devices. */
const spare = 1_000;
const attempts = 100_000;
/** How many lines to send before reading the server's answers. */
const atOnce = 500;
/** Far below the 996 MiB of the original attack, and above the variation of nats-server's own buffers, in MiB. */
const growthMaxMiB = 40;

let server: Server;
let people: Cast<"ana" | "eve">;
beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=100000"] });
  people = await castOf(server, "ana", "eve");
});
afterAll(() => server[Symbol.asyncDispose]());

/** Returns the memory of nats-server, in MiB. */
function memoryMiB(): number {
  const status = readFileSync(`/proc/${server.ready.nats_pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1_024;
}

/** Returns `count` subscriptions to a peer's own inbox, numbered from `first`. */
const subscriptions = (endpoint: string, first: number, count: number, token = "x"): string =>
  Array.from({ length: count }, (_, n) => `SUB _INBOX.${endpoint}.${token}${first + n} ${first + n}\r\n`).join("");

describe("one connection", () => {
  test("with 100,000 subscriptions is closed, and nats-server's memory stays flat", async () => {
    using eve = await rawPeer(server.ready.nats, people.eve);
    const before = memoryMiB();
    // Close to the longest allowed line, so that each subscription costs the most.
    const token = "y".repeat(900);
    let sent = 0;
    for (let first = 1; first <= attempts && !eve.isClosed; first += atOnce, sent += atOnce) {
      await eve.exchange(subscriptions(people.eve.endpoint, first, atOnce, token));
      eve.received = eve.received.slice(-100);
    }
    await until("the connection is closed", () => eve.isClosed, 5_000);
    expect(memoryMiB() - before).toBeLessThan(growthMaxMiB);
    expect(sent).toBeLessThan(attempts);
  }, 120_000);

  test("may have two subscriptions for each room, and one for each device, beyond the thousand", async () => {
    const made: OwnRoom[] = [];
    for (let n = 0; n < 3; n++) {
      made.push(await addMembers(server, await createRoom(server, people.ana, policy("persist")), people.eve));
    }
    for (const device of ["main", "phone"]) {
      const target = `/rooms/${made[0]?.state.roomId}/durable?device=${device}`;
      expect((await call(server.ready.http, people.eve, "PUT", target)).status).toBe(200);
    }
    // Two for each room, one for its signals, and one for each device.
    const cap = spare + 3 * made.length + 2;
    using within = await rawPeer(server.ready.nats, people.eve);
    expect(await within.exchange(subscriptions(people.eve.endpoint, 1, cap))).not.toContain("-ERR");
    using beyond = await rawPeer(server.ready.nats, people.eve);
    await beyond.exchange(subscriptions(people.eve.endpoint, 1, cap + 1));
    // The check that finds the excess subscription has inspected the other connection as well.
    await until("the connection with one too many is closed", () => beyond.isClosed, 10_000);
    expect(within.isClosed).toBe(false);
    expect(await within.exchange()).toBe("PONG\r\n");
  }, 60_000);

  test("has 20,000 at most by nats-server's own count, before unibus has counted them", async () => {
    // Hides the subscription counts from unibus's own check.
    const uncounted = <T extends object>(whole: T): T =>
      new Proxy(whole, {
        get(target, name) {
          const value = Reflect.get(target, name, target) as unknown;
          if (typeof value !== "function") return value;
          if (name === "connection") return async (account: string) => uncounted(await value.call(target, account));
          if (name !== "request") return value.bind(target) as unknown;
          return (subject: string, ...given: unknown[]) =>
            subject.endsWith(".STATSZ") ? Promise.reject(new Error("not now")) : value.call(target, subject, ...given);
        },
      });
    await using bus = await bootInProcess({ between: { [Nats.id]: uncounted } });
    const { eve } = await castOf(bus.server, "eve");
    using peer = await rawPeer(bus.server.ready.nats, eve);
    // The login itself subscribed to nothing.
    expect(await peer.exchange(subscriptions(eve.endpoint, 1, 20_000))).not.toContain("-ERR");
    expect(await peer.exchange(subscriptions(eve.endpoint, 20_001, 1))).toContain("maximum subscriptions exceeded");
  }, 60_000);

  test("has lines of 1 KiB at most", async () => {
    const sub = (bytes: number): string => {
      const line = `SUB _INBOX.${people.eve.endpoint}. 1`;
      return `SUB _INBOX.${people.eve.endpoint}.${"z".repeat(bytes - line.length)} 1\r\n`;
    };
    using short = await rawPeer(server.ready.nats, people.eve);
    expect(await short.exchange(sub(1_000))).not.toContain("-ERR");
    using long = await rawPeer(server.ready.nats, people.eve);
    expect(await long.exchange(sub(1_100))).toContain("maximum control line exceeded");
    await until("the connection is closed", () => long.isClosed);
  });
});
