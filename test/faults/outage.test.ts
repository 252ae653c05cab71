/**
 * The client during an outage of the bus: messages and requests wait, in order, and resume when the bus is back; keys
 * that could not be fetched are requested again. One outage is reported as one event, and `bus.status` shows its
 * beginning, the attempts and the cause. Source: docs/protocol/history.md.
 */
import { afterEach, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import {
  type Bus,
  type BusStatus,
  connect,
  isUnibusError,
  type Reconnecting,
  UnibusError,
} from "../../src/client/index.ts";
import { CliPeer } from "../support/cli-peer.ts";
import { Folder, Server, until } from "../support/executable.ts";
import { addUser, freshSubject, postUser } from "../support/peer.ts";

const patienceMs = 120_000;

/** A bus that stops and restarts at the same addresses. */
class Scene implements AsyncDisposable {
  readonly #folder = new Folder();
  #server: Server | null = null;
  #args: string[] = [];
  readonly buses: Bus[] = [];

  get server(): Server {
    if (this.#server === null) throw new Error("the server is away");
    return this.#server;
  }

  async start(): Promise<void> {
    this.#server = await Server.start({ folder: this.#folder, args: ["--set", "http.rate=100000", ...this.#args] });
    const { http, nats, ws } = this.#server.ready;
    const at = (url: string) => new URL(url.replace(/^\w+:/, "http:")).host;
    this.#args = ["--http", at(http), "--nats", at(nats), "--ws", at(ws)];
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    await server?.end("SIGKILL");
    await server?.[Symbol.asyncDispose]();
  }

  async connect(identity: Identity, dialled?: number): Promise<Bus> {
    const dial = dialled === undefined ? undefined : `127.0.0.1:${dialled}`;
    const bus = await connect({ url: this.server.ready.http, dial, identity, state: "memory" });
    this.buses.push(bus);
    return bus;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.buses.map((bus) => bus.close()));
    await this.stop();
    this.#folder[Symbol.dispose]();
  }
}

/** An HTTP proxy in front of the bus that can answer 503, like a proxy whose backend is down. */
class Front implements Disposable {
  refuses: (pathname: string) => boolean = () => false;
  asked = 0;
  readonly #listener: { readonly port: number | undefined; stop(closes: boolean): unknown };

  constructor(url: string) {
    this.#listener = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: async (request) => {
        this.asked += 1;
        const { pathname, search } = new URL(request.url);
        if (this.refuses(pathname)) return new Response("busy", { status: 503 });
        const { method, headers } = request;
        const body = method === "GET" ? null : await request.arrayBuffer();
        return fetch(`${url}${pathname}${search}`, { method, headers, body });
      },
    });
  }

  get port(): number {
    return this.#listener.port ?? 0;
  }

  [Symbol.dispose](): void {
    void this.#listener.stop(true);
  }
}

let scene: Scene | null = null;
afterEach(async () => {
  await scene?.[Symbol.asyncDispose]();
  scene = null;
});

async function began(): Promise<{ readonly scene: Scene; readonly admin: Identity; readonly ana: Bus }> {
  scene = new Scene();
  await scene.start();
  const admin = await addUser(scene.server, "root", { admin: true });
  const ana = await scene.connect(await postUser(scene.server, admin, "ana"));
  return { scene, admin, ana };
}

test(
  "the first message of a room waits for the server, like later ones, and all keep their order",
  async () => {
    const { scene, admin, ana } = await began();
    const made = await ana.createRoom(freshSubject(), "matrix");
    const bob = await scene.connect(await postUser(scene.server, admin, "bob"));
    await made.membership.add(bob.identity.endpoint);
    // Bob has opened the room but has not sent or read anything in it: he does not have its key yet.
    const room = await bob.room(made.id);
    await scene.stop();
    const refused = await room.send("not now", { offline: "refuse" }).catch((error: UnibusError) => error);
    expect([refused instanceof UnibusError, (refused as UnibusError).code]).toEqual([true, "unavailable"]);
    const late = room.send("too late", { timeoutMs: 300 }).catch((error: UnibusError) => error.code);
    const given = new AbortController();
    const left = room.send("given up", { signal: given.signal }).catch((error: Error) => error.message);
    const texts = Array.from({ length: 20 }, (_, i) => `m${i}`);
    const sending = texts.map((text) => room.send(text, { timeoutMs: 60_000 }));
    given.abort(new Error("the caller left"));
    expect(await late).toBe("unavailable");
    expect(await left).toBe("the caller left");
    await scene.start();
    const sent = await Promise.all(sending);
    const seqs = sent.map(({ seq }) => seq ?? 0);
    expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
    const { messages } = await room.history({ limit: 100 });
    expect(messages.map(({ text }) => text)).toEqual(texts);
  },
  patienceMs,
);

test(
  "a first request also waits until its timeout, or until the client is closed",
  async () => {
    const { scene, admin, ana } = await began();
    const made = await ana.createRoom(freshSubject(), "matrix");
    await made.respond(({ text }) => `${text}!`);
    using front = new Front(scene.server.ready.http);
    const theirRoom = async (name: string) => {
      const bus = await scene.connect(await postUser(scene.server, admin, name), front.port);
      await made.membership.add(bus.identity.endpoint);
      return { bus, room: await bus.room(made.id) };
    };
    const bob = await theirRoom("bob");
    const cleo = await theirRoom("cleo");
    front.asked = 0;
    front.refuses = () => true;
    const answer = bob.room.request("hello", { timeoutMs: 60_000 });
    const waiting = cleo.room.send("never", { timeoutMs: 60_000 }).catch((error: UnibusError) => error.message);
    await until("the connection was retried", () => front.asked > 10, 60_000);
    await cleo.bus.close();
    expect(await waiting).toContain("this client is closed");
    front.refuses = () => false;
    expect((await answer).text).toBe("hello!");
  },
  patienceMs,
);

test(
  "one outage is one event, however many rooms are followed and however many retries fail",
  async () => {
    const { scene, ana } = await began();
    const got: string[] = [];
    for (let i = 0; i < 5; i++) {
      const room = await ana.createRoom(freshSubject(), "matrix");
      await room.onMessage(({ text }) => void got.push(text));
      await room.send(`first ${i}`);
    }
    await until("all messages arrived", () => got.length === 5);
    const trouble: unknown[] = [];
    const status: string[] = [];
    ana.on("trouble", (error) => trouble.push(error));
    ana.on("status", (now) => status.push(now.state));
    for (const outage of [1, 2]) {
      await scene.stop();
      await until("the outage is noticed", () => status.length === 2 * outage - 1);
      const down = performance.now();
      // Long enough for several retries of everything that retries.
      await until("the connection was retried several times", () => performance.now() - down > 4_000);
      expect(trouble.length).toBeLessThanOrEqual(outage);
      await scene.start();
      await until("the client is connected again", () => status.length === 2 * outage, 60_000);
      expect(trouble.length).toBe(outage);
    }
    expect(status).toEqual(["reconnecting", "connected", "reconnecting", "connected"]);
  },
  patienceMs,
);

test(
  "bus.status shows an outage with its start, its retries, their addresses and their errors, and its end",
  async () => {
    const { scene, ana } = await began();
    const { http } = scene.server.ready;
    expect(ana.status).toEqual({ state: "connected" });
    const lazy = await connect({ url: http, identity: ana.identity, state: "memory", lazy: true });
    expect(lazy.status).toEqual({ state: "connecting" });
    const seen: BusStatus[] = [];
    ana.on("status", (status) => seen.push(status));
    const before = Date.now();
    await scene.stop();
    await until("the connection was retried", () => ana.status.state === "reconnecting" && ana.status.attempt >= 3);
    const { since, tried, cause, attempt } = ana.status as Reconnecting;
    expect(since.getTime()).toBeWithin(before, Date.now() + 1);
    expect([tried.includes(http), isUnibusError(cause) && cause.code]).toEqual([true, "unavailable"]);
    await until("the connection was retried", () => (ana.status as Reconnecting).attempt > attempt);
    // One event for the outage, when it begins.
    expect(seen).toEqual([{ state: "reconnecting", since, attempt: 0, tried: [], cause: null }]);
    await scene.start();
    await until("the client is connected again", () => ana.status.state === "connected", 60_000);
    await ana.close();
    await lazy.close();
    expect(seen.slice(1)).toEqual([{ state: "connected" }, { state: "closed", cause: expect.any(UnibusError) }]);
    expect([ana.status, lazy.status.state]).toEqual([seen[2] as BusStatus, "closed"]);
  },
  patienceMs,
);

test(
  "a running command prints an outage in one line, with the reason, and its end in another",
  async () => {
    const { scene, admin, ana } = await began();
    const room = await ana.createRoom(freshSubject(), "matrix");
    using peer = await CliPeer.join(scene.server, admin, "bob");
    await room.membership.add(peer.identity.endpoint);
    await using tail = peer.start(["tail", room.subject]);
    await tail.untilNote("following");
    const notes = () =>
      tail.stderr
        .split("\n")
        .slice(0, -1)
        .filter((line) => !line.startsWith("following"));
    for (const outage of [1, 2]) {
      await scene.stop();
      await until("the outage is noticed", () => notes().length === 2 * outage - 1);
      const down = performance.now();
      await until("the connection was retried several times", () => performance.now() - down > 2_000);
      await scene.start();
      await until("the command is connected again", () => notes().length === 2 * outage, 60_000);
    }
    const pair = [
      expect.stringMatching(/^(connection lost; reconnecting|warning): cannot reach http:.*: /),
      expect.stringMatching(/^reconnected after \d+ s$/),
    ];
    expect(notes()).toEqual([...pair, ...pair]);
  },
  patienceMs,
);

test(
  "a room key that the server cannot return for a moment is requested again when the room is first used",
  async () => {
    const { scene, ana } = await began();
    const made = await ana.createRoom(freshSubject(), "matrix");
    await made.send("hello");
    using front = new Front(scene.server.ready.http);
    let refusals = 2;
    let asked = 0;
    front.refuses = (pathname) => {
      if (!pathname.endsWith("/key")) return false;
      asked += 1;
      return refusals-- > 0;
    };
    const again = await scene.connect(ana.identity, front.port);
    const { messages } = await (await again.room(made.id)).history();
    expect([messages.map(({ text }) => text), asked]).toEqual([["hello"], 3]);
  },
  patienceMs,
);
