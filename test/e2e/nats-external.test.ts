/**
 * NATS servers that unibus does not run: they work when configured as docs/operate.md says, survive restarts of
 * unibus, and are refused with a reason when they cannot carry it.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { nkeys } from "nats";
import { signalSubject } from "../../src/wire/names.ts";
import { Folder, Server, unibus, until } from "../support/executable.ts";
import { castOf } from "../support/inside.ts";
import { addMembers, call, createRoom, dial, history, kick, policy } from "../support/peer.ts";
import { loginOf, RawNats, rawPeer } from "../support/raw-nats.ts";

const natsServer = resolve(import.meta.dir, "../../.cache/nats-server/nats-server");
const accountNames = ["BUS", "CTL", "AUTH", "SYS"] as const;
const services = ["proc.>", "rpc.>", "room.>", "agent.>", "$JS.ACK.>"];
const streams = ["_DELIVER.>", "unibus.user.>"];

/** The key files of unibus for these servers. */
class Keys implements Disposable {
  readonly folder = new Folder();
  readonly users = Object.fromEntries(accountNames.map((name) => [name, nkeys.createUser()]));
  readonly issuer = nkeys.createAccount();

  constructor() {
    for (const name of accountNames) this.#write(name, this.users[name]?.getSeed());
    this.#write("issuer", this.issuer.getSeed());
  }

  #write(name: string, seed: Uint8Array | undefined): void {
    writeFileSync(this.folder.file(name), `${Buffer.from(seed ?? []).toString()}\n`, { mode: 0o600 });
  }

  publicOf(name: string): string {
    return this.users[name]?.getPublicKey() ?? "";
  }

  [Symbol.dispose](): void {
    this.folder[Symbol.dispose]();
  }
}

// biome-ignore lint/suspicious/noExplicitAny: tests remove single parts of it
type Config = any;

/** The configuration that docs/operate.md asks for. */
function configOf(keys: Keys, store: string): Config {
  const users = (name: string) => [{ nkey: keys.publicOf(name) }];
  const limits = { max_mem: 0, max_file: 100_000_000, max_streams: -1, max_consumers: -1 };
  return {
    listen: "127.0.0.1:-1",
    max_payload: 1_114_112,
    jetstream: { store_dir: store, max_mem: 0, max_file: 200_000_000 },
    authorization: {
      timeout: 10,
      auth_callout: {
        issuer: keys.issuer.getPublicKey(),
        account: "AUTH",
        auth_users: accountNames.map((name) => keys.publicOf(name)),
      },
    },
    system_account: "SYS",
    accounts: {
      BUS: {
        users: users("BUS"),
        jetstream: limits,
        exports: [...services.map((service) => ({ service })), ...streams.map((stream) => ({ stream }))],
      },
      CTL: { users: users("CTL"), jetstream: limits },
      AUTH: { users: users("AUTH") },
      SYS: { users: users("SYS") },
      PEERS: {
        imports: [
          ...services.map((subject) => ({ service: { account: "BUS", subject } })),
          ...streams.map((subject) => ({ stream: { account: "BUS", subject } })),
        ],
      },
    },
  };
}

/** A nats-server that unibus does not run. */
class OtherServer implements AsyncDisposable {
  readonly #folder = new Folder();
  readonly #child: Bun.Subprocess;
  url = "";

  private constructor(config: Config) {
    const file = this.#folder.file("nats.conf");
    writeFileSync(file, JSON.stringify({ ports_file_dir: this.#folder.path, ...config }));
    this.#child = Bun.spawn([natsServer, "-c", file], { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
  }

  static async start(keys: Keys, change: (config: Config) => void = () => undefined): Promise<OtherServer> {
    const store = new Folder();
    const config = configOf(keys, store.path);
    change(config);
    const server = new OtherServer(config);
    server.#store = store;
    const file = server.#folder.file(`nats-server_${server.#child.pid}.ports`);
    await until("nats-server logs its address", () => existsSync(file) && readFileSync(file, "utf8").endsWith("}"));
    server.url = (JSON.parse(readFileSync(file, "utf8")) as { nats: string[] }).nats[0] ?? "";
    return server;
  }
  #store: Folder | undefined;

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
    this.#folder[Symbol.dispose]();
    this.#store?.[Symbol.dispose]();
  }
}

/** Writes the unibus configuration for such servers into its data directory. */
function configure(folder: Folder, keys: Keys, url: string, otherwise: object = {}, decentralized = false): void {
  const manifest = JSON.parse(readFileSync(resolve(import.meta.dir, "../../plugins.json"), "utf8")) as {
    flags: Record<string, boolean>;
    plugins: { use: string; config?: object }[];
  };
  const file = (name: string) => keys.folder.file(name);
  const credentials = Object.fromEntries(accountNames.map((name) => [name, file(name)]));
  const config = { servers: url, credentials, issuer_seed_file: file("issuer"), ...otherwise };
  for (const row of manifest.plugins) if (row.use === "nats-external") row.config = config;
  Object.assign(manifest.flags, { "external-nats": true, decentralized });
  mkdirSync(folder.file("data"), { recursive: true });
  writeFileSync(folder.file("data", "plugins.json"), JSON.stringify(manifest));
}

const serve = ["serve", "--data", "data", "--http", "127.0.0.1:0"];

describe.each(["sqlite", "kv"])("on external NATS servers, with the store %s,", (store) => {
  let keys: Keys;
  let nats: OtherServer;
  let folder: Folder;
  beforeAll(async () => {
    keys = new Keys();
    folder = new Folder();
    nats = await OtherServer.start(keys);
    configure(folder, keys, nats.url, {}, store === "kv");
  });
  afterAll(async () => {
    await nats[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
    keys[Symbol.dispose]();
  });

  test("a server works as with its own: rooms, frames, history, revocations; and all survive a restart", async () => {
    const start = () => Server.start({ folder, carriesNats: false });
    const first = await start();
    const { ana, bob } = await castOf(first, "ana", "bob");
    expect((await call(first.ready.http, null, "GET", "/healthz")).json.posture).toMatchObject({
      ...{ cluster: "external", store },
    });
    const room = await addMembers(first, await createRoom(first, ana, policy("persist")), bob);
    const peer = await dial(first, ana, { url: nats.url });
    expect((await peer.request(room.state.subject, "hello")).json<{ seq: number }>().seq).toBe(1);
    using raw = await rawPeer(nats.url, bob);
    // Signals need no configuration of these servers: they stay within the account of the users.
    await raw.exchange(`SUB ${signalSubject(room.state.roomId, "*")} 1\r\n`);
    peer.publish(signalSubject(room.state.roomId, ana.endpoint), "typing");
    await peer.flush();
    await until("bob receives the signal", () => raw.received.includes("\r\ntyping\r\n"));
    await kick(first, room, bob, ana);
    await until("bob is disconnected", () => raw.isClosed, 2_000);

    // The connection outlives unibus. The next process does not know its login, and adopts it.
    using gone = await rawPeer(nats.url, bob);
    await first.end();
    const revoked = await unibus(folder, ["user", "revoke", bob.signPubHex, "--data", first.data]);
    expect(revoked).toMatchObject({ code: 0 });
    expect(await gone.exchange()).toContain("PONG");
    await using second = await start();
    await until("the user who was revoked during the restart is disconnected", () => gone.isClosed, 2_000);
    expect((await history(second, ana, room)).map(String)).toEqual(["hello"]);
    expect((await peer.request(room.state.subject, "again")).json<{ seq: number }>().seq).toBe(2);
    await peer.close();
  }, 30_000);
});

test("a login made before unibus started is dropped without an error, and a later one is admitted", async () => {
  using keys = new Keys();
  using folder = new Folder();
  await using nats = await OtherServer.start(keys, (config) => {
    // Longer than this test: after this timeout nats-server itself answers with an authorization error.
    config.authorization.timeout = 120;
  });
  configure(folder, keys, nats.url);
  const first = await Server.start({ folder, carriesNats: false });
  const { ana } = await castOf(first, "ana");
  await first.end();
  using early = await RawNats.open(nats.url);
  const answer = early.login(loginOf(ana, early));
  await using _second = await Server.start({ folder, carriesNats: false });
  expect(await answer).toBe("hung up");
  using again = await RawNats.open(nats.url);
  expect(await again.login(loginOf(ana, again))).toBe("");
}, 60_000);

describe("unsuitable servers are refused with a clear error:", () => {
  let keys: Keys;
  beforeAll(() => {
    keys = new Keys();
  });
  afterAll(() => keys[Symbol.dispose]());

  const cases: readonly (readonly [string, (config: Config) => void, string])[] = [
    ["no JetStream", (config) => delete config.accounts.CTL.jetstream, "JetStream is disabled for account CTL"],
    ["a small maximum message size", (config) => (config.max_payload = 1_000_000), "max_payload is 1000000"],
    ["no auth callout", (config) => delete config.authorization, "the servers send no auth callout requests to unibus"],
    [
      "JetStream in the account of the peers",
      (config) => (config.accounts.PEERS.jetstream = "enabled"),
      "JetStream is enabled for account PEERS",
    ],
    ["no PEERS account", (config) => delete config.accounts.PEERS, "account PEERS does not exist"],
    [
      "a missing export",
      (config) => {
        config.accounts.BUS.exports.pop();
        config.accounts.PEERS.imports.pop();
      },
      "BUS does not export stream unibus.user.>",
    ],
    ["a missing import", (config) => config.accounts.PEERS.imports.shift(), "PEERS does not import service proc.>"],
    [
      "an additional import",
      (config) => {
        config.accounts.BUS.exports.push({ service: "$JS.API.>" });
        config.accounts.PEERS.imports.push({ service: { account: "BUS", subject: "$JS.API.>" } });
      },
      "BUS and PEERS also share service $JS.API.>",
    ],
    [
      "an additional account",
      (config) => {
        [config.accounts.CTL.users, config.accounts.BUS.users] = [config.accounts.BUS.users, config.accounts.CTL.users];
      },
      "the BUS credentials belong to account CTL",
    ],
    [
      "unknown credentials",
      (config) => {
        const other = nkeys.createUser().getPublicKey();
        config.accounts.CTL.users = [{ nkey: other }];
        config.authorization.auth_callout.auth_users[1] = other;
      },
      "the CTL credentials were refused",
    ],
  ];
  test.each(cases)(
    "%s",
    async (_, change, message) => {
      await using nats = await OtherServer.start(keys, change);
      using folder = new Folder();
      configure(folder, keys, nats.url);
      const done = await unibus(folder, serve);
      expect(done.stderr).toContain("error: nats-external: ");
      expect(done.stderr).toContain(message);
      expect(done).toMatchObject({ code: 1, stdout: "" });
    },
    20_000,
  );

  test("a missing server, a name without TLS, a password in the URL, and files that other users can read", async () => {
    using folder = new Folder();
    const refused = async (url: string, otherwise: object, message: string): Promise<void> => {
      configure(folder, keys, url, otherwise);
      const done = await unibus(folder, serve);
      expect(done.stderr).toContain(message);
      expect(done).toMatchObject({ code: 1, stdout: "" });
    };
    await refused("nats://127.0.0.1:1", {}, "nats-external: nats://127.0.0.1:1: no server answers");
    await refused("nats://nats.example.org:4222", {}, "leaves this machine without TLS (use tls://");
    await refused("nats://user:secret@127.0.0.1:4222", {}, "nats-external.servers: entry 1 is not a NATS URL (");
    const open = folder.file("open");
    writeFileSync(open, readFileSync(keys.folder.file("issuer")));
    chmodSync(open, 0o644);
    await refused(
      "nats://127.0.0.1:1",
      { issuer_seed_file: open },
      `issuer_seed_file: ${open} is readable by other users`,
    );
    const user = keys.folder.file("BUS");
    await refused("nats://127.0.0.1:1", { issuer_seed_file: user }, `${user} is not the seed of an account nkey`);
  });
});
