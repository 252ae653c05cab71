/**
 * No false alarm: nothing that an honest server, its clients and their crashes do looks like a gap in the history to a
 * reader. Small in CI; `npm run soak -- integrity` kills 100 times, and also a leader of three nodes.
 * Source: docs/protocol/history.md.
 */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { type Identity, identityText } from "../../src/client/crypto/identity.ts";
import { Bus, MemoryState, type Message, type Room } from "../../src/client/index.ts";
import { checkHistory } from "../../src/client/rooms/history-check.ts";
import { partsOf } from "../../src/client/rooms/room-parts.ts";
import { freePorts } from "../support/cluster.ts";
import { Folder, isAlive, Server, until } from "../support/executable.ts";
import { HostileServer } from "../support/hostile-server.ts";
import { castOf } from "../support/inside.ts";
import { freshSubject } from "../support/peer.ts";
import type { PipelinedSending } from "../support/pipelined-sender.ts";
import { ProxyPorts } from "../support/proxy-ports.ts";
import { isSoak } from "../support/soak.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";
import { randomOf } from "../support/timeline.ts";
import { Nodes } from "./chaos/nodes.ts";

const isWhole = isSoak("integrity");
const seed = Number(process.env.UNIBUS_SEED ?? 1);
const stepsCount = Number(process.env.UNIBUS_STEPS ?? (isWhole ? 160 : 8));
const leaderKillsCount = 10;
const stepMs = 60_000;

/** Declares a test that only the whole run has. */
function whole(name: string, run: () => Promise<void>, timeoutMs: number): void {
  if (isWhole) test(name, run, timeoutMs);
}

/** A program that sends until it is stopped or killed. */
class Sender {
  #child: Bun.Subprocess<"pipe", "pipe", "inherit">;

  constructor(private readonly sending: PipelinedSending) {
    this.#child = this.#spawn();
  }

  #spawn() {
    const program = join(import.meta.dir, "../support/pipelined-sender.ts");
    const command = [process.execPath, program, JSON.stringify(this.sending)];
    return Bun.spawn(command, { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  }

  /** Kills it with what is in flight, and starts it again. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
    this.#child = this.#spawn();
  }

  /** Returns what it printed. */
  async end(): Promise<string> {
    this.#child.stdin.end();
    return (await new Response(this.#child.stdout).text()).trim();
  }

  [Symbol.dispose](): void {
    this.#child.kill("SIGKILL");
  }
}

/** A reader, and everything that it has found. */
class Reader {
  readonly alarms: string[] = [];
  /** The messages that may be deleted. */
  readonly messages: Message[] = [];
  waits = 0;

  constructor(readonly room: Room) {
    room.on("integrity", ({ state, findings }) => {
      if (state === "waiting") this.waits += 1;
      else if (state !== "whole") this.alarms.push(`${state} ${JSON.stringify(findings)}`);
    });
  }

  get count(): number {
    return this.room.stats().received;
  }

  /** Reads until the returned function is called. */
  follow(from: "start" | "now"): Promise<() => void> {
    return this.room.onMessage(
      (message) => {
        if (message.kind === "text") this.messages.push(message);
        if (this.messages.length > 200) this.messages.shift();
      },
      { from },
    );
  }

  /** Waits for more messages, so that the state follows from what was sent after a fault. */
  async more(count: number): Promise<void> {
    const before = this.count;
    await until(`${count} more messages arrive`, () => this.count >= before + count, stepMs);
  }
}

/** Repeats what fails while the server is down. */
async function insist<T>(work: () => Promise<T>): Promise<T | undefined> {
  const endMs = performance.now() + stepMs;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (performance.now() > endMs) throw error;
      await Bun.sleep(100);
    }
  }
}

/** What must hold at the end: no reader found anything, then or before. */
async function expectWhole(senders: readonly Sender[], readers: readonly Reader[], what: string): Promise<void> {
  const [first] = readers;
  if (first === undefined) throw new Error("there is no reader");
  expect(await Promise.all(senders.map((sender) => sender.end()))).toEqual(senders.map(() => "done"));
  await Promise.all(readers.map(({ room }) => until("all is read", () => room.integrity.state !== "waiting", stepMs)));
  const checked = await insist(() => checkHistory(partsOf(first.room), undefined));
  const { messages, linked } = checked ?? {};
  const waits = readers.map((reader) => reader.waits);
  console.log(`${what}: ${messages} messages, ${linked} linked; waited ${waits.join(", ")} times; seed ${seed}`);
  for (const reader of readers) expect(reader.alarms).toEqual([]);
  expect(checked).toMatchObject({ state: "whole", findings: [] });
  for (const { room } of readers) expect(room.integrity).toMatchObject({ state: "whole", findings: [] });
}

const connected = (urls: readonly string[], identity: Identity): Promise<Bus> =>
  Bus.connect({ urls, identity, state: new MemoryState() });

test(
  "kills of clients, server and nats-server, lost acks, two devices, deletions and rekeys cause no alarm",
  async () => {
    const random = randomOf(seed);
    using folder = new Folder();
    const [http = 0, nats = 0, ws = 0] = await freePorts(3);
    const at = (port: number) => `127.0.0.1:${port}`;
    const listen = ["--http", at(http), "--nats", at(nats), "--ws", at(ws)];
    const rates = ["http.rate=100000", "rooms.statements_per_minute=0"].flatMap((setting) => ["--set", setting]);
    // The proxies' addresses, which the server knows after each start.
    const ports = new ProxyPorts();
    const args = [...listen, ...rates, ...ports.args];
    const start = () => Server.start({ folder, args });
    let server = await start();
    ports.serve(server.ready.http, server.ready.nats, server.ready.ws);
    try {
      const people = await castOf(server, "ana", "bob", "carol", "dave", "eve");
      const url = server.ready.http;
      await using proxy = await TcpProxy.start(server.ready.nats);
      await using front = await HostileServer.start(url);
      front.nats = [`nats://127.0.0.1:${proxy.port}`];
      await using ana = await connected([url], people.ana);
      await using bob = await connected([url], people.bob);
      const room = await ana.createRoom(freshSubject(), "matrix");
      await room.membership.add([people.bob, people.carol, people.dave].map(({ endpoint }) => endpoint));
      const reader = new Reader(await bob.room(room.id));
      const owner = new Reader(room);
      const stops = [await reader.follow("now"), await owner.follow("start")];
      const sending = { urls: [front.url], roomId: room.id, bytes: 100, perSecond: 60 };
      const programs = [people.carol, people.carol, people.dave].map((who) => ({
        ...sending,
        identity: identityText(who),
      }));
      using senders = disposing(programs.map((program) => new Sender(program)));
      await reader.more(20);

      const done: Record<string, number> = {};
      const killServer = async (): Promise<void> => {
        const { natsPid } = server;
        await server.end("SIGKILL");
        if (isAlive(natsPid)) process.kill(natsPid, "SIGKILL");
        await until("nats-server has ended", () => !isAlive(natsPid));
        server = await start();
      };
      const erase = async (): Promise<void> => {
        const target = owner.messages[random(owner.messages.length)];
        if (target !== undefined) await insist(() => room.delete(target).catch(ignoreGone));
      };
      const rekey = async (): Promise<void> => {
        await insist(() => room.membership.add(people.eve.endpoint));
        await insist(() => room.membership.kick(people.eve.endpoint).catch(ignoreGone));
      };
      const faults: readonly (readonly [string, () => unknown])[] = [
        ["client", () => senders.list[random(senders.list.length)]?.kill()],
        ["cut", () => proxy.cutAll()],
        ["nats-server", () => process.kill(server.natsPid, "SIGKILL")],
        ["client", () => senders.list[random(senders.list.length)]?.kill()],
        ["erase", erase],
        ["server", killServer],
        ["rekey", rekey],
        ["client during an outage", () => Promise.all([proxy.cutAll(), senders.list[0]?.kill()])],
      ];
      for (let step = 0; step < stepsCount; step++) {
        const [what, fault] = faults[step % faults.length] ?? faults[0] ?? ["", () => undefined];
        if (isWhole) console.log(`${step} ${what}: ${reader.count} read, ${reader.room.integrity.state}`);
        await fault();
        done[what] = (done[what] ?? 0) + 1;
        await Promise.all([reader.more(30), owner.more(30)]);
      }
      await using late = await insist(() => connected([url], people.bob));
      const joined = new Reader((await late?.room(room.id)) ?? room);
      stops.push(await joined.follow("start"));
      const timeline = joined.room.timeline({ limit: 50 });
      await timeline.ready;
      while (timeline.hasOlder) await timeline.older(1_000);
      await expectWhole(senders.list, [reader, owner, joined], JSON.stringify(done));
      expect(joined.room.integrity.since).toBeNull();
      timeline.close();
      for (const stop of stops) stop();
    } finally {
      await server[Symbol.asyncDispose]();
    }
  },
  isWhole ? 1_800_000 : 120_000,
);

/** Disposes of all at the end of a scope. */
const disposing = <T extends Disposable>(list: readonly T[]) => ({
  list,
  [Symbol.dispose]() {
    for (const one of list) one[Symbol.dispose]();
  },
});

/** A message may be gone, and a repeated change may have been made the first time. */
function ignoreGone(error: unknown): void {
  const { code } = error as { readonly code?: string };
  if (code !== "not_found" && code !== "conflict") throw error;
}

whole(
  "a room that drops its oldest messages causes no alarm",
  async () => {
    const settings = ["rooms.bytes_max=400000", "rooms.when_full=drop_oldest", "http.rate=100000"];
    await using server = await Server.start({ args: settings.flatMap((setting) => ["--set", setting]) });
    const people = await castOf(server, "ana", "bob");
    await using ana = await connected([server.ready.http], people.ana);
    await using bob = await connected([server.ready.http], people.bob);
    const room = await ana.createRoom(freshSubject(), "matrix");
    await room.membership.add(people.bob.endpoint);
    const reader = new Reader(await bob.room(room.id));
    const stop = await reader.follow("start");
    const sending = { urls: [server.ready.http], roomId: room.id, bytes: 2_000, perSecond: 200 };
    using sender = new Sender({ ...sending, identity: identityText(people.ana) });
    const firstSeq = async () => (await reader.room.history({ limit: 1_000, after: 0 })).firstSeq;
    await until("the oldest messages are dropped", async () => (await firstSeq()) > 1, stepMs);
    const owner = new Reader(room);
    const stops = [stop, await owner.follow("start")];
    await owner.more(1_000);
    await reader.room.history({ limit: 1_000 });
    await expectWhole([sender], [reader, owner], "drop_oldest");
    expect(owner.room.integrity.since).toBeString();
    for (const each of stops) each();
  },
  600_000,
);

whole(
  "deaths of the node that leads the room's stream cause no alarm",
  async () => {
    await using nodes = await Nodes.start();
    const people = await castOf(nodes.at(0), "ana", "bob", "carol");
    await using ana = await connected(nodes.urls, people.ana);
    await using bob = await connected(nodes.urls.toReversed(), people.bob);
    const room = await ana.createRoom(freshSubject(), "matrix");
    await room.membership.add([people.bob, people.carol].map(({ endpoint }) => endpoint));
    const reader = new Reader(await bob.room(room.id));
    const stop = await reader.follow("start");
    const sending = { roomId: room.id, bytes: 100, perSecond: 40 };
    const urls = [nodes.urls, nodes.urls.toReversed()];
    using senders = disposing(
      urls.map((each) => new Sender({ ...sending, urls: each, identity: identityText(people.carol) })),
    );
    await reader.more(50);
    for (let kill = 0; kill < leaderKillsCount; kill++) {
      const leader = await nodes.leaderOf({ state: { roomId: room.id } } as Parameters<Nodes["leaderOf"]>[0]);
      await nodes.kill(leader);
      await reader.more(30);
      await nodes.boot(leader);
      await nodes.untilReady();
      await reader.more(30);
    }
    await expectWhole(senders.list, [reader], `${leaderKillsCount} leaders died`);
    stop();
  },
  1_200_000,
);
