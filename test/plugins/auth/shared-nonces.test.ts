/**
 * Two nodes of one bus: a request that one node admitted under a shared name, the other refuses.
 * Source: docs/protocol/requests.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { generateIdentity, type Identity } from "../../../src/client/crypto/identity.ts";
import type { Auth, RequestHead } from "../../../src/contracts/auth.ts";
import type { Log, Site } from "../../../src/contracts/plugin.ts";
import auth from "../../../src/plugins/auth/index.ts";
import type { KvStore } from "../../../src/plugins/store-kv/store.ts";
import { isUnibusError } from "../../../src/wire/errors.ts";
import { userSample } from "../../conformance/store-samples.ts";
import { Folder } from "../../support/executable.ts";
import { signedHeaders } from "../../support/peer.ts";
import { KvServer } from "../store-kv/server.ts";

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };
const sharedNames = ["bus.example", "other.example:99"];

/** A node of the bus. */
class Node implements Disposable {
  readonly #folder = new Folder();
  readonly #releases: (() => unknown)[] = [];

  async start(port: number, store: KvStore): Promise<Auth> {
    const site: Site = {
      ...{ version: "0.0.0", dataDir: this.#folder.path, flags: {}, facts: {}, url: () => "" },
      publicUrl: "https://bus.example",
      hosts: ["other.example:99"],
      listener: { hostname: "192.0.2.1", port: () => port, tls: false, isPublic: false, allowCleartext: false },
    };
    const signal = new AbortController().signal;
    const onStop = (release: () => unknown) => this.#releases.push(release);
    const context = { config: {}, site, log: silent, now: Date.now, signal, onStop, progress: () => undefined };
    return (await auth.setup(context, { users: store.users, shared: store.nonces })).services.auth;
  }

  [Symbol.dispose](): void {
    for (const release of this.#releases) release();
    this.#folder[Symbol.dispose]();
  }
}

const target = "/directory";
let server: KvServer;
let ana: Identity;
const nodes = [new Node(), new Node()];
let auths: Auth[];

beforeAll(async () => {
  server = await KvServer.start(1);
  const account = server.freshAccount();
  const stores = await Promise.all(nodes.map(() => server.store(account)));
  auths = await Promise.all(nodes.map((node, n) => node.start(1_000 + n, stores[n] as KvStore)));
  ana = await generateIdentity();
  const { signPubHex: signPub, endpoint } = ana;
  await stores[0]?.users.insertUser(userSample(1, { signPub, endpoint }));
});
afterAll(async () => {
  for (const node of nodes) node[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
});

const signedFor = (host: string): RequestHead => {
  const headers = signedHeaders(ana, { url: "http://x", method: "GET", target, host });
  const origin = () => ({ address: "192.0.2.7", isForwarded: false });
  return { method: "GET", target, header: (name) => headers[name] ?? null, origin };
};

/** A node's answer to a request: the caller's endpoint, or the code of the refusal. */
const said = (node: number, head: RequestHead): Promise<string | undefined> =>
  (auths[node] as Auth).identify(head).then(
    ({ caller }) => caller?.endpoint,
    (error: unknown) => (isUnibusError(error) ? error.code : String(error)),
  );

test("a request signed for a name of both nodes is accepted once, by the node that it reaches first", async () => {
  for (const host of sharedNames) {
    const [first, second] = [signedFor(host), signedFor(host)];
    expect(await said(0, first)).toBe(ana.endpoint);
    expect(await said(1, first)).toBe("unauthenticated");
    expect(await said(0, first)).toBe("unauthenticated");
    const outcomes = await Promise.all([0, 1, 0, 1].map((node) => said(node, second)));
    expect(outcomes.filter((outcome) => outcome === ana.endpoint)).toHaveLength(1);
  }
});

test("a request signed for the address of one node is refused by the other, which has another port", async () => {
  for (const host of ["192.0.2.1:1000"]) {
    const head = signedFor(host);
    expect(await said(1, head)).toBe("wrong_host");
    expect(await said(0, head)).toBe(ana.endpoint);
  }
  for (const host of ["192.0.2.1", "192.0.2.1:1002", "127.0.0.1:1000", "localhost:1000"])
    expect(await said(0, signedFor(host))).toBe("wrong_host");
});

test("while the store is unavailable every request is refused", async () => {
  await server.kill();

  expect(await said(0, signedFor("bus.example"))).toBe("unavailable");
  expect(await said(0, signedFor("192.0.2.1:1000"))).toBe("unavailable");
});
