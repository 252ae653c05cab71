/**
 * Delivery under faults: connections of the reader are cut repeatedly, nats-server is killed, and the reader's
 * permissions change, while messages flow. The application must get each message exactly once, in its sender's order.
 * Small in CI; `npm run soak -- gapless` sends 50,000 messages with 100 cuts, 2 kills and 50 changes.
 * Source: docs/protocol/durables.md, docs/protocol/logins.md.
 */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { identityText } from "../../src/client/crypto/identity.ts";
import { type Bus, connect, isUnibusError, type Room } from "../../src/client/index.ts";
import { Server, until } from "../support/executable.ts";
import { HostileServer } from "../support/hostile-server.ts";
import { addUser, freshSubject, postUser } from "../support/peer.ts";
import type { Sending } from "../support/sender-program.ts";
import { isSoak } from "../support/soak.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";

const sizes = isSoak("gapless")
  ? { messagesCount: 50_000, cutsCount: 100, restartsCount: 2, changesCount: 50 }
  : { messagesCount: 4_000, cutsCount: 16, restartsCount: 1, changesCount: 8 };
const { messagesCount, cutsCount, restartsCount, changesCount } = sizes;
const sendersCount = 8;
const eachCount = messagesCount / sendersCount;

/** Checks messages as a reader receives them: each must be the next one of its sender. */
class Log {
  readonly #next = new Map<string, number>();
  readonly faults: string[] = [];
  count = 0;

  take(from: string, text: string): void {
    const wanted = this.#next.get(from) ?? 0;
    if (text !== String(wanted) && this.faults.length < 20)
      this.faults.push(`${from}: ${text} where ${wanted} is next`);
    this.#next.set(from, Number(text) + 1);
    this.count += 1;
  }
}

/** Reads a room until the last message of the run, from its start or from now on. */
function reading(room: Room, from: "start" | "now") {
  const log = new Log();
  const messages = room.messages({ from, queueMax: messagesCount });
  const done = (async () => {
    for await (const message of messages) {
      log.take(message.from, message.text);
      if (log.count >= messagesCount) return;
    }
  })();
  return { log, done, ready: messages.ready };
}

/** Senders in a separate process, with the number of their messages that are stored. */
class Senders implements Disposable {
  sent = 0;
  /** The counts of suspicious events that the process reported, as JSON. */
  suspicious = "";
  readonly done: Promise<void>;
  readonly #child: Bun.Subprocess<"pipe", "pipe", "inherit">;

  constructor(sending: Sending) {
    const command = [process.execPath, join(import.meta.dir, "../support/sender-program.ts")];
    this.#child = Bun.spawn(command, { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
    this.#child.stdin.write(JSON.stringify(sending));
    this.#child.stdin.end();
    this.done = this.#read();
  }

  [Symbol.dispose](): void {
    this.#child.kill();
  }

  async #read(): Promise<void> {
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      for (const line of chunk.split("\n").filter(Boolean)) {
        if (line.startsWith("done ")) this.suspicious = line.slice(5);
        else this.sent = Math.max(this.sent, Number(line) || 0);
      }
    }
    if ((await this.#child.exited) !== 0) throw new Error("a sender failed");
  }
}

/** Retries an action until it succeeds, since it fails while nats-server is down. */
async function insist(work: () => Promise<unknown>): Promise<void> {
  for (;;) {
    try {
      await work();
      return;
    } catch (error) {
      if (!isUnibusError(error) || !["unavailable", "internal", "conflict"].includes(error.code)) throw error;
      if (error.code === "conflict") return;
      await Bun.sleep(50);
    }
  }
}

/** Whether a peer has accepted a room. False while the server does not answer. */
async function isAcceptedBy(bus: Bus, roomId: string): Promise<boolean> {
  const rooms = await bus.rooms().catch(() => []);
  return rooms.some(({ id, accepted }) => id === roomId && accepted);
}

test("each message is delivered exactly once, in order", async () => {
  await using server = await Server.start({
    proxied: true,
    args: ["--set", "http.rate=100000", "--set", "rooms.statements_per_minute=0"],
  });
  const admin = await addUser(server, "root", { admin: true });
  await using proxy = await TcpProxy.start(server.ready.nats);
  await using front = await HostileServer.start(server.ready.http);
  front.alter("/info", (info: object) => ({ ...info, nats: [`nats://127.0.0.1:${proxy.port}`], ws: [] }));
  const open = async (name: string, url: string, acceptFrom: readonly string[] = []): Promise<Bus> =>
    connect({ url, identity: await postUser(server, admin, name), state: "memory", acceptFrom });

  await using ana = await open("ana", server.ready.http);
  await using bob = await open("bob", front.url, [ana.identity.endpoint]);
  await using cleo = await open("cleo", front.url);
  const identities = await Promise.all(
    Array.from({ length: sendersCount }, (_, i) => postUser(server, admin, `sender${i}`)),
  );
  const room = await ana.createRoom(freshSubject(), "matrix");
  const sides: Room[] = [];
  for (let i = 0; i < changesCount / 2; i++) sides.push(await ana.createRoom(freshSubject(), "nats"));
  await room.membership.add([bob.identity, cleo.identity, ...identities].map(({ endpoint }) => endpoint));
  const seen: Record<string, number> = {};
  for (const bus of [bob, cleo]) {
    bus.on("suspicious", ({ what }) => {
      seen[`suspicious ${what}`] = (seen[`suspicious ${what}`] ?? 0) + 1;
    });
    bus.on("lost", ({ why }) => {
      seen[`lost ${why}`] = (seen[`lost ${why}`] ?? 0) + 1;
    });
  }
  let reconnects = 0;
  bob.on("status", (status) => {
    if (status.state === "connected") reconnects += 1;
  });

  const live = reading(await bob.room(room.id), "now");
  await live.ready;
  const began = performance.now();
  using senders = new Senders({
    ...{ url: server.ready.http, roomId: room.id, count: eachCount },
    identities: identities.map(identityText),
  });
  const progress = () => Math.min(senders.sent, live.log.count) / messagesCount;
  const whenAt = (share: number) => until(`${share} of all messages are delivered`, () => progress() >= share, 240_000);

  const done = { cuts: 0, restarts: 0, changes: 0 };
  const cutting = (async () => {
    let seen = -1;
    for (; done.cuts < cutsCount; done.cuts++) {
      await whenAt((done.cuts + 0.5) / cutsCount);
      // Every second cut waits until the reader is back. The others may happen while it reconnects.
      if (done.cuts % 2 === 0) {
        await until("the reader has reconnected", () => reconnects > seen, 60_000);
        seen = reconnects;
      }
      await until("there are connections to cut", () => proxy.links.size > 0);
      proxy.cutAll();
    }
  })();
  const restarting = (async () => {
    for (; done.restarts < restartsCount; done.restarts++) {
      await whenAt((done.restarts + 1) / (restartsCount + 1));
      process.kill(server.natsPid, "SIGKILL");
    }
  })();
  const changing = (async () => {
    for (; done.changes < changesCount; done.changes++) {
      await whenAt((done.changes + 0.3) / changesCount);
      const isIn = done.changes % 2 === 1;
      const side = sides[Math.floor(done.changes / 2)];
      if (side === undefined) throw new Error("there are too few rooms");
      const { endpoint } = bob.identity;
      await insist(() => (isIn ? side.membership.kick(endpoint) : side.membership.add(endpoint)));
      // Permissions include only rooms that the member has accepted.
      if (!isIn) await until("bob has accepted", () => isAcceptedBy(bob, side.id), 30_000);
    }
  })();
  const late = (async () => {
    // Not at the moment in which nats-server is killed: opening a room then fails.
    await whenAt(0.4);
    const one = reading(await cleo.room(room.id), "start");
    await one.done;
    return one;
  })();

  await Promise.all([senders.done, cutting, restarting, changing]);
  await live.done;
  const joined = await late;
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  const { lastSeq } = await room.history({ limit: 1 });
  const dropped = (await bob.room(room.id)).stats().dropped;
  console.log(
    `${live.log.count} delivered of ${senders.sent} sent, ${lastSeq} stored, in ${seconds} s; ${JSON.stringify(done)}; ` +
      `reader reconnected ${reconnects} times, dropped ${JSON.stringify(dropped)}; ${JSON.stringify(seen)}`,
  );
  for (const { log } of [live, joined]) {
    expect(log.faults).toEqual([]);
    expect(log.count).toBe(messagesCount);
  }
  expect(lastSeq).toBe(messagesCount);
  expect(done).toEqual({ cuts: cutsCount, restarts: restartsCount, changes: changesCount });
  // Every second cut may happen while the reader is disconnected anyway, and the run may end before the last reconnect.
  expect(reconnects).toBeGreaterThanOrEqual(cutsCount / 2 - 1);
  expect([seen, senders.suspicious]).toEqual([{}, "{}"]);
}, 300_000);
