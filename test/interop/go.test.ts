/**
 * A peer in Go with its own cryptography, in a real room on a real server: it reads what the SDK writes and writes what
 * the SDK reads, also across an epoch change.
 * Source: docs/protocol/identity.md, docs/protocol/rooms.md, docs/protocol/frames.md, docs/protocol/logins.md.
 */
import { beforeAll, expect, test } from "bun:test";
import { identityText } from "../../src/client/crypto/identity.ts";
import { newRoomKey } from "../../src/client/crypto/keys.ts";
import { connect, type Message, type Room } from "../../src/client/index.ts";
import { Server, until } from "../support/executable.ts";
import { HostileServer } from "../support/hostile-server.ts";
import { goPeer } from "../support/installed.ts";
import { sealNow } from "../support/keys-now.ts";
import { addUser, call, freshSubject, postUser } from "../support/peer.ts";

let program: string;
beforeAll(async () => {
  program = await goPeer();
}, 300_000);

/** An event that the Go peer prints. */
interface GoEvent {
  readonly event: string;
  readonly error?: string;
  readonly [name: string]: unknown;
}

/** The running Go peer. */
class GoPeer implements AsyncDisposable {
  readonly events: GoEvent[] = [];
  readonly #child: Bun.Subprocess<"pipe", "pipe", "pipe">;
  #errors = "";

  constructor(settings: unknown) {
    this.#child = Bun.spawn([program], { stdin: "pipe", stdout: "pipe", stderr: "pipe" });
    this.#write(settings);
    void this.#read();
    void new Response(this.#child.stderr).text().then((text) => {
      this.#errors = text;
    });
  }

  /** Sends an order to the peer and returns the event of this name that follows. */
  async run(order: unknown, event: string): Promise<GoEvent> {
    const mark = this.events.length;
    this.#write(order);
    return this.next(event, mark);
  }

  /** The next event of this name. */
  async next(event: string, mark = 0): Promise<GoEvent> {
    const found = () => this.events.slice(mark).find((one) => one.event === event || one.event === "failed");
    await until(`Go reports ${event}`, () => found() !== undefined || this.#errors !== "");
    const one = found();
    if (one === undefined || one.event !== event) throw new Error(`Go: ${one?.error ?? this.#errors}`);
    return one;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin.end();
    await this.#child.exited;
  }

  #write(line: unknown): void {
    this.#child.stdin.write(`${JSON.stringify(line)}\n`);
    this.#child.stdin.flush();
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.events.push(JSON.parse(line) as GoEvent);
    }
  }
}

test("Go and the SDK read each other's messages, live and from history, before and after a rekey", async () => {
  await using server = await Server.start({ args: ["--set", "http.rate=100000"] });
  const admin = await addUser(server, "root", { admin: true });
  const [anas, gos] = [await postUser(server, admin, "ana"), await postUser(server, admin, "go")] as const;
  await using ana = await connect({ url: server.ready.http, identity: anas, state: "memory" });
  const room = await ana.createRoom(freshSubject(), "matrix");
  await room.membership.add(gos.endpoint);
  expect((await call(server.ready.http, gos, "PUT", `/rooms/${room.id}/accept`)).status).toBe(204);
  const got: Message[] = [];
  await room.onMessage((message) => got.push(message));
  const before = await room.send("before Go came");

  const { http, nats } = server.ready;
  const identity = JSON.parse(identityText(gos)) as unknown;
  await using go = new GoPeer({ http, nats, identity, room_id: room.id });
  expect(await go.next("ready")).toMatchObject({ endpoint: gos.endpoint });
  expect(await go.next("room")).toEqual({ event: "room", subject: room.subject, epoch: 1, keys: 1 });

  await speak(room, go, got, { go: gos.endpoint, sdk: anas.endpoint, epoch: 1 });
  await room.membership.rekey();
  expect(await go.run({ do: "refresh" }, "room")).toMatchObject({ epoch: 2, keys: 2 });
  await speak(room, go, got, { go: gos.endpoint, sdk: anas.endpoint, epoch: 2 });

  // Both read the same history, across both epochs.
  const { messages } = await room.history();
  const page = await go.run({ do: "history" }, "history");
  const kept = page.messages as { id: string; from: string; text: string; error?: string }[];
  expect(kept.map(({ id, from, text, error }) => [id, from, text, error])).toEqual(
    messages.map(({ id, from, text }) => [id, from, text, undefined]),
  );
  expect(kept[0]).toMatchObject({ id: before.id, text: "before Go came" });
  expect(kept).toHaveLength(1 + 2 * 9);
  expect(room.stats().dropped).toEqual({});
}, 60_000);

/** Each peer sends to the other in every form: a message, a reply, a reaction, a request. */
async function speak(
  room: Room,
  go: GoPeer,
  got: Message[],
  { go: goEndpoint, sdk, epoch }: { readonly go: string; readonly sdk: string; readonly epoch: number },
): Promise<void> {
  const mark = go.events.length;
  const text = `from the SDK in ${epoch}: ünïcödé 👋`;
  const first = await room.send(text);
  const heard = await go.next("heard", mark);
  expect(heard).toMatchObject({ id: first.id, from: sdk, epoch, kind: "text", text, thread: "", reply_to: "" });

  const answered = { do: "send", text: `from Go in ${epoch}: ünïcödé 👋`, thread: first.id, reply_to: first.id };
  const sent = await go.run(answered, "sent");
  const here = () => got.find(({ id }) => id === sent.id);
  await until("the SDK has received it", () => here() !== undefined);
  expect(here()).toMatchObject({ from: goEndpoint, epoch, kind: "text", verified: true, late: false, handle: "go" });
  expect([here()?.text, here()?.thread, here()?.replyTo]).toEqual([answered.text, first.id, first.id]);

  const reaction = await go.run({ do: "react", text: "👍", reply_to: first.id }, "sent");
  await until("the SDK has received it", () => got.some(({ id, kind }) => id === reaction.id && kind === "react"));
  await room.react({ id: String(sent.id), thread: null }, "🎉");
  await until("Go has received it", () =>
    go.events.slice(mark).some(({ type, kind, text }) => type === 6 && kind === "react" && text === "🎉"),
  );

  const edit = await room.edit({ id: first.id, thread: null, from: sdk }, `edited in ${epoch}`);
  await until("Go has received it", () =>
    go.events.slice(mark).some(({ id, kind }) => id === edit.id && kind === "edit"),
  );
  const custom = await go.run({ do: "send", kind: "app.vote", text: "yes" }, "sent");
  await until("the SDK has received it", () => got.some(({ id, kind }) => id === custom.id && kind === "app.vote"));
  expect(got.find(({ id }) => id === custom.id)?.text).toBe("yes");

  expect((await room.request("ping from the SDK")).text).toBe("pong from Go");
  const stop = await room.respond((request) => `pong to ${request.text}`);
  expect(await go.run({ do: "request", text: "ping from Go" }, "answer")).toMatchObject({
    ...{ from: sdk, text: "pong to ping from Go" },
  });
  stop();
  await room.send("the end");
  await until("Go has received it", () => go.events.slice(mark).some(({ text }) => text === "the end"));
  expect(go.events.slice(mark).filter(({ error }) => error !== undefined)).toEqual([]);
}

test("the Go client verifies by itself: it accepts no unsigned key, member or statement", async () => {
  await using server = await Server.start({ proxied: true, args: ["--set", "http.rate=100000"] });
  await using hostile = await HostileServer.start(server.ready.http);
  const admin = await addUser(server, "root", { admin: true });
  const gos = await postUser(server, admin, "go");
  await using ana = await connect({ url: server.ready.http, identity: admin, state: "memory" });
  const room = await ana.createRoom(freshSubject(), "matrix");
  await room.membership.add(gos.endpoint);
  expect((await call(server.ready.http, gos, "PUT", `/rooms/${room.id}/accept`)).status).toBe(204);
  const settings = {
    ...{ http: hostile.url, nats: server.ready.nats, room_id: room.id },
    identity: JSON.parse(identityText(gos)) as unknown,
  };
  const lies: Readonly<Record<string, readonly [string, (json: Record<string, unknown[]>) => unknown]>> = {
    "the key of epoch 1 is not": ["/key", () => ({ epoch: 1, sealed_key: sealNow(newRoomKey(), gos.kexPub) })],
    "the members are not": ["/members", ({ members = [], ...rest }) => ({ ...rest, members: members.slice(1) })],
    "statement 2 does not follow": [
      "/statements",
      ({ statements = [] }) => ({ statements: [statements[0], statements[0]], more: false }),
    ],
  };
  for (const [error, [path, lie]] of Object.entries(lies)) {
    hostile.alter(path, lie);
    await using go = new GoPeer(settings);
    await expect(go.next("ready")).rejects.toThrow(error);
  }
  hostile.honest();
  await using go = new GoPeer(settings);
  await go.next("ready");
});
