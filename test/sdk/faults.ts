/**
 * Suite cases for failures: lost connections, exceeded limits, unusable identities and addresses, and callers that
 * abort. Runs on every platform through `suite.ts`, so it uses only `unibus/client` and the stage.
 */
import {
  type Bus,
  type ClientOptions,
  connect,
  createBrowserIdentity,
  generateIdentity,
  Identity,
  identityFromWords,
  identityOf,
  identityText,
  isUnibusError,
  newWords,
  parseIdentity,
  parseJoinLink,
  type Room,
} from "unibus/client";
import { equal, errorOf, ok, refused, until } from "./expect.ts";
import { busOf, type Case, freshSubject, newcomer, type Stage } from "./stage.ts";

async function connecting(stage: Stage): Promise<void> {
  const identity = await stage.user("ana");
  const options: ClientOptions = { url: stage.url, identity, state: "memory" };
  {
    await using bus = await connect(options);
    equal([bus.identity.endpoint, bus.info.auth], [identity.endpoint, "enforce"]);
  }
  // Nothing listens at the first address, so the client uses the next one.
  const unused = "http://127.0.0.1:9";
  await using bus = await connect({ ...options, url: unused, urls: [stage.url] });
  equal(await bus.rooms(), []);
  await refused("unavailable", () => connect({ ...options, url: unused }));
  await refused("invalid", () => connect({ ...options, url: "no address" }));
  await bus.close();
  await bus.close();
  await refused("unavailable", () => bus.room("room.closed"));
}

async function identities(stage: Stage): Promise<void> {
  const stranger = await generateIdentity();
  await refused("unauthenticated", () => connect({ url: stage.url, identity: stranger, state: "memory" }));
  const text = identityText(stranger);
  equal((await parseIdentity(text)).endpoint, stranger.endpoint);
  const other = JSON.parse(identityText(await generateIdentity())) as { sign_pub: string };
  const mixed = JSON.stringify({ ...(JSON.parse(text) as object), sign_pub: other.sign_pub });
  for (const wrong of ["", "{}", mixed, text.replace(/"kex_priv": "..../, '"kex_priv": "AAAA')]) {
    const error = await refused("invalid", () => parseIdentity(wrong));
    const { sign_priv } = JSON.parse(text) as { sign_priv: string };
    ok(!error.message.includes(sign_priv), "no key is repeated");
  }
  ok(!JSON.stringify(stranger).includes((JSON.parse(text) as { sign_priv: string }).sign_priv), "no key is printed");
  const words = newWords();
  const made = await identityFromWords(words);
  ok(made instanceof Identity, "an identity is one");
  equal((await identityFromWords(` ${words.toUpperCase()} `)).endpoint, made.endpoint);
  await refused("invalid", () => identityFromWords("one two three"));
  await refused("invalid", () => parseJoinLink("http://bus.example.org/join#abc"));
}

/** An identity whose private keys cannot be read: of this browser, or of the platform's WebCrypto. */
async function hiddenIdentity(stage: Stage): Promise<Identity> {
  if ("indexedDB" in globalThis) return createBrowserIdentity({ name: stage.place() });
  const { subtle } = crypto;
  const signing = (await subtle.generateKey("Ed25519", false, ["sign"])) as CryptoKeyPair;
  const kex = (await subtle.generateKey("X25519", false, ["deriveBits"])) as CryptoKeyPair;
  const raw = async (key: CryptoKey) => new Uint8Array(await subtle.exportKey("raw", key));
  return identityOf({
    signPub: await raw(signing.publicKey),
    kexPub: await raw(kex.publicKey),
    sign: async (message) => new Uint8Array(await subtle.sign("Ed25519", signing.privateKey, new Uint8Array(message))),
    agree: async (kexPub) => {
      const theirs = await subtle.importKey("raw", new Uint8Array(kexPub), "X25519", true, []);
      return new Uint8Array(await subtle.deriveBits({ name: "X25519", public: theirs }, kex.privateKey, 256));
    },
  });
}

async function hiddenKeys(stage: Stage): Promise<void> {
  const identity = await hiddenIdentity(stage);
  ok(!identity.isExtractable, "the private keys are hidden");
  await refused("invalid", () => identityText(identity));
  await refused("invalid", () => identity.signPriv);
  await stage.admit(`hidden-${crypto.randomUUID().slice(0, 8)}`, identity);
  await using bus = await busOf(stage, identity);
  await using ana = await newcomer(stage, "ana");
  const mine = await bus.createRoom(freshSubject(), "matrix");
  await mine.membership.add(ana.identity.endpoint);
  const sent = Array.from({ length: 30 }, (_, index) => `m${index}`);
  await Promise.all(sent.map((text) => mine.send(text)));
  const theirs = await ana.room(mine.id);
  await theirs.send("hello");
  const got = (await theirs.history()).messages;
  equal(
    got.map(({ text, verified }) => [text, verified]),
    [...sent, "hello"].map((text) => [text, true]),
    "in the order of the sends",
  );
  await mine.membership.rekey();
  equal((await mine.history()).messages.length, got.length);
}

async function typedErrors(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  await using bob = await newcomer(stage, "bob");
  const mine = await ana.createRoom(freshSubject(), "matrix");
  await refused("not_found", () => ana.room("room.that-is-not"));
  await refused("not_found", () => mine.membership.add("nobody-of-that-name"));
  await refused("conflict", () => bob.createRoom(mine.subject, "matrix"));
  await refused("invalid", () => ana.createRoom("$JS.API.x", "matrix"));
  await refused("too_large", () => mine.send(new Uint8Array(1_048_576)));
  const error = await refused("forbidden", () => bob.room(mine.id));
  ok(/^[\w-]{8,}$/.test(error.requestId ?? ""), `the bus names the request: ${error.requestId}`);
}

async function signals(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  const room = await ana.createRoom(freshSubject(), "matrix");
  const reason = new Error("the caller gives up");
  const given = AbortSignal.abort(reason);
  const works: (() => unknown)[] = [
    () => connect({ url: stage.url, identity: ana.identity, state: "memory", signal: given }),
    () => ana.rooms(given),
    () => ana.createRoom(freshSubject(), "matrix", given),
    () => room.send("no", { signal: given }),
    () => room.request("no", { signal: given }),
    () => room.history({}, given),
    () => room.putBlob(new Uint8Array(10), given),
    () => room.membership.rekey(given),
  ];
  for (const work of works) ok((await errorOf(work)) === reason, `the signal's reason ends ${work}`);
  const later = new AbortController();
  const asking = errorOf(() => room.request("does anybody hear me", { signal: later.signal }));
  const reading = errorOf(async () => {
    for await (const _ of room.messages({ signal: later.signal })) later.abort(reason);
  });
  await room.messages().ready;
  await room.send("one");
  ok((await asking) === reason && (await reading) === reason, "what is under way ends, too");
  // The request may have been published before it was aborted; nothing else was.
  ok(
    (await room.history()).messages.every(({ text }) => text !== "no"),
    "nothing was sent",
  );
}

async function slowReader(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  const room = await ana.createRoom(freshSubject(), "matrix");
  const slow = room.messages({ queueMax: 10 });
  const quick = room.messages();
  await Promise.all([slow.ready, quick.ready]);
  for (let index = 0; index < 30; index++) await room.send(`m${index}`);
  for (const reader of [quick, slow]) {
    const got: string[] = [];
    for await (const { text } of reader) if (got.push(text) === 30) break;
    equal(
      got,
      Array.from({ length: 30 }, (_, index) => `m${index}`),
      "each message once, in order",
    );
  }
}

/** Sends messages one after another, each after the one before is stored. */
async function sendMany(room: Room, from: number, to: number): Promise<void> {
  for (let index = from; index < to; index++) await room.send(`m${index}`);
}

async function reconnect(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  await using bob = await newcomer(stage, "bob");
  const mine = await ana.createRoom(freshSubject(), "matrix");
  await mine.membership.add(bob.identity.endpoint);
  const theirs = await bob.room(mine.id);
  const got: string[] = [];
  await theirs.onMessage(({ text }) => got.push(text));
  const statuses: string[] = [];
  const watch = (bus: Bus) => bus.on("status", (status) => statuses.push(status.state));
  for (const bus of [ana, bob]) watch(bus);
  await sendMany(mine, 0, 10);
  await stage.killNats();
  // Messages sent while the reader is away wait, and are stored once.
  await sendMany(mine, 10, 20);
  await until("both reconnected", () => statuses.filter((status) => status === "connected").length >= 2);
  await sendMany(mine, 20, 30);
  const wanted = Array.from({ length: 30 }, (_, index) => `m${index}`);
  await until("bob has received all", () => got.length >= wanted.length);
  equal(got, wanted);
  equal(
    (await mine.history()).messages.map(({ text }) => text),
    wanted,
  );
  equal(statuses.filter((status) => status === "reconnecting").length >= 2, true, "both were notified");
}

async function offline(stage: Stage): Promise<void> {
  await using ana = await newcomer(stage, "ana");
  const room = await ana.createRoom(freshSubject(), "matrix");
  const states: string[] = [];
  ana.on("status", ({ state }) => states.push(state));
  equal(ana.status.state, "connected");
  const down = (async () => {
    await until("the connection broke", () => states[0] === "reconnecting");
    const { status } = ana;
    ok(status.state === "reconnecting" && status.attempt >= 0 && "cause" in status, `an outage: ${status.state}`);
    return errorOf(() => room.send("at once or never", { offline: "refuse" }));
  })();
  await stage.killNats();
  const error = await down;
  ok(isUnibusError(error) && error.code === "unavailable", `refused: ${error}`);
  await until("it is connected again", () => ana.status.state === "connected");
  equal((await room.send("here again")).seq, 1);
  equal(states, ["reconnecting", "connected"], "one outage is one event, and its end another");
  await ana.close();
  equal([ana.status.state, states.at(-1)], ["closed", "closed"]);
}

async function memory(stage: Stage): Promise<void> {
  const identity = await stage.user("ana");
  const state = stage.place();
  let id = "";
  {
    await using bus = await connect({ url: stage.url, identity, state });
    const room = await bus.createRoom(freshSubject(), "matrix");
    id = room.id;
    await room.membership.rekey();
    await room.send("remember");
  }
  await using bus = await connect({ url: stage.url, identity, state });
  const room = await bus.room(id);
  equal([room.epoch, (await room.history()).messages.map(({ text }) => text)], [2, ["remember"]]);
}

/** Cases for failures. */
export const faults: readonly Case[] = [
  { name: "connect: one of several addresses, an unreachable one, none; close", run: connecting },
  { name: "an invalid identity is refused, and words restore one", run: identities },
  { name: "an identity with keys that cannot be read works like any other", run: hiddenKeys },
  { name: "errors have a code and a request id", run: typedErrors },
  { name: "an aborted call throws the signal's reason", run: signals },
  { name: "a slow reader reads the rest later, and others do not wait", run: slowReader },
  { name: "the state of a client is kept across connections", run: memory },
  { name: "after a crash of nats-server all clients reconnect, and nothing is lost or duplicated", run: reconnect },
  { name: "without a connection a send with offline: refuse fails at once", run: offline },
];
