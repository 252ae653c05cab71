/**
 * TLS of the control plane: protocol versions and ciphers, certificate renewal on SIGHUP under load, refused
 * configurations, and the rules for a public address. Source: docs/protocol/requests.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { connect as dialTls } from "node:tls";
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import { adminLink, identityAt } from "../support/accounts.ts";
import { Authority, type CertificateFiles } from "../support/certificates.ts";
import { Folder, Server, unibus, until } from "../support/executable.ts";
import { createBody, freshSubject, newRoom, policy, signedHeaders } from "../support/peer.ts";
import { AtTerminal } from "../support/terminal.ts";
import { refusal } from "./refusal.ts";

let authority: Authority;
let [one, two]: CertificateFiles[] = [];
beforeAll(() => {
  authority = new Authority();
  [one, two] = [authority.issue("one"), authority.issue("two")];
});
afterAll(() => authority[Symbol.dispose]());

/** Sends a request with a client that trusts the authority. */
async function get(url: string, init: RequestInit = {}): Promise<Response> {
  return fetch(url, { ...init, tls: { ca: readFileSync(authority.file, "utf8") } });
}

/** Certificate files that a test can replace. */
class Renewable implements Disposable {
  readonly #folder = new Folder();
  readonly #files = { cert: this.#folder.file("tls.pem"), key: this.#folder.file("tls.key") };
  /** The options for `serve`. */
  readonly args = ["--tls-cert", this.#files.cert, "--tls-key", this.#files.key];

  constructor(first: CertificateFiles | undefined) {
    this.place(first);
  }

  place(next: CertificateFiles | undefined): void {
    if (next === undefined) throw new Error("no certificate was issued");
    copyFileSync(next.cert, this.#files.cert);
    copyFileSync(next.key, this.#files.key);
  }

  /** Replaces the files and makes the server reload them. */
  renew(server: { readonly pid: number }, next: CertificateFiles | undefined): void {
    this.place(next);
    process.kill(server.pid, "SIGHUP");
  }

  /** Damages the files and makes the server reload them. */
  spoil(server: { readonly pid: number }, cert: string | null, key: string | null): void {
    if (cert !== null) writeFileSync(this.#files.cert, cert);
    if (key !== null) writeFileSync(this.#files.key, key);
    process.kill(server.pid, "SIGHUP");
  }

  [Symbol.dispose](): void {
    this.#folder[Symbol.dispose]();
  }
}

type Reachable = Pick<Server, "ready">;

/** The name in the certificate that a new connection gets, or the reason for its absence. */
function shown(server: Reachable, versions: { min?: "TLSv1"; max?: "TLSv1.1" | "TLSv1.2" } = {}): Promise<string> {
  const { hostname, port } = new URL(server.ready.http);
  const { promise, resolve } = Promise.withResolvers<string>();
  const socket = dialTls({
    host: hostname,
    port: Number(port),
    ca: readFileSync(authority.file),
    ...(versions.min === undefined ? {} : { minVersion: versions.min }),
    ...(versions.max === undefined ? {} : { maxVersion: versions.max }),
  });
  socket.on("secureConnect", () => resolve(`${socket.getPeerCertificate().subject.CN}`));
  socket.on("error", (error) => resolve(error.message));
  return promise.finally(() => socket.destroy());
}

test("https works for a client that trusts the CA, and plain http, old versions and other CAs do not", async () => {
  using files = new Renewable(one);
  await using server = await Server.start({ args: files.args });
  expect(server.ready.http).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
  const health = await get(`${server.ready.http}/healthz`);
  expect(await health.json()).toMatchObject({ posture: { tls: "true", auth: "enforce" } });
  expect(get(server.ready.http.replace("https", "http"))).rejects.toThrow();
  expect(fetch(`${server.ready.http}/healthz`)).rejects.toThrow();
  expect(await shown(server)).toBe("one");
  expect(await shown(server, { max: "TLSv1.2" })).toBe("one");
  expect(await shown(server, { min: "TLSv1", max: "TLSv1.1" })).not.toBe("one");
  const { host } = new URL(server.ready.http);
  const old = Bun.spawnSync(["openssl", "s_client", "-connect", host, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], {
    stdin: new TextEncoder().encode(""),
    stderr: "pipe",
  });
  expect([old.exitCode, old.stderr.toString()]).toEqual([1, expect.stringMatching(/alert protocol version/)]);
}, 20_000);

test("TLS 1.2 offers no CBC and no key exchange without forward secrecy, on all three listeners", async () => {
  using files = new Renewable(one);
  await using server = await Server.start({ args: files.args });
  const offered = (address: string, ciphers: string): string | undefined => {
    const done = Bun.spawnSync(["openssl", "s_client", "-connect", address, "-tls1_2", "-cipher", ciphers], {
      stdin: new TextEncoder().encode(""),
      stdout: "pipe",
    });
    return /Cipher is (\S+)/.exec(done.stdout.toString())?.[1];
  };
  const all = Bun.spawnSync(["openssl", "ciphers", "-tls1_2", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"]).stdout.toString();
  const names = all.trim().split(":");
  const modern = names.filter((name) => /^ECDHE-.*(GCM|CHACHA20)/.test(name));
  const rest = names.filter((name) => !name.startsWith("TLS_") && !modern.includes(name));
  expect(rest).toContain("ECDHE-ECDSA-AES128-SHA");
  for (const url of [server.ready.http, server.ready.nats, server.ready.ws]) {
    const { host } = new URL(url.replace(/^\w+:/, "https:"));
    expect([url, offered(host, `${rest.join(":")}:@SECLEVEL=0`)]).toEqual([url, "(NONE)"]);
    expect([url, offered(host, modern.join(":"))]).toEqual([url, expect.stringMatching(/^ECDHE-ECDSA-/)]);
  }
}, 30_000);

test("the first admin joins by an https link, and signs for it", async () => {
  using files = new Renewable(one);
  await using server = await Server.start({ args: files.args });
  const link = adminLink(server);
  expect(link).toStartWith(`${server.ready.http}/join#`);
  const args = ["join", link, "--identity", "admin.json"];
  const strange = await unibus(server.folder, args);
  expect([strange.code, strange.stderr]).toEqual([1, expect.stringMatching(/is not trusted: .*NODE_EXTRA_CA_CERTS/)]);
  const joined = await unibus(server.folder, args, { env: { NODE_EXTRA_CA_CERTS: authority.file } });
  expect([joined.code, joined.stderr]).toEqual([0, expect.stringMatching(/^commands now use https:.* \(.*\)\n$/)]);
  const admin = await identityAt(server.folder, "admin.json");
  const headers = signedHeaders(admin, { url: server.ready.http, method: "GET", target: "/directory" });
  expect((await get(`${server.ready.http}/directory`, { headers })).status).toBe(200);
}, 20_000);

describe("SIGHUP", () => {
  /** Sends requests in a loop, `atOnce` at a time, on new connections or on kept ones. */
  function traffic(server: Server, atOnce: number) {
    const failures: string[] = [];
    const counts = { done: 0 };
    let going = true;
    const loop = async (keepalive: boolean): Promise<void> => {
      while (going) {
        const headers = keepalive ? {} : { connection: "close" };
        const status = await get(`${server.ready.http}/info`, { headers, keepalive }).then(
          async (reply) => `${reply.status} ${(await reply.json()) === null}`,
          (error: Error) => error.message,
        );
        if (status === "200 false") counts.done += 1;
        else failures.push(status);
      }
    };
    const loops = Array.from({ length: atOnce }, (_, index) => loop(index % 2 === 0));
    const stop = async (): Promise<string[]> => {
      going = false;
      await Promise.all(loops);
      return failures;
    };
    return { counts, stop };
  }

  test("loads new certificates while 50 requests are in flight at all times, and none fails", async () => {
    using files = new Renewable(one);
    await using server = await Server.start({ args: [...files.args, "--set", "http.rate=1000000"] });
    const { counts, stop } = traffic(server, 50);
    await until("requests succeed", () => counts.done > 100);
    for (let round = 0; round < 3; round++) {
      for (const [next, name] of [
        [two, "two"],
        [one, "one"],
      ] as const) {
        files.renew(server, next);
        await until(`${name} is used`, async () => (await shown(server)) === name);
      }
      const before = counts.done;
      await until("requests still succeed", () => counts.done > before + 100);
    }
    expect(await stop()).toEqual([]);
    // No earlier listener remains: a hundred new connections all get the newest certificate.
    files.renew(server, two);
    await until("two is used", async () => (await shown(server)) === "two");
    const seen = await Promise.all(Array.from({ length: 100 }, () => shown(server)));
    expect(new Set(seen)).toEqual(new Set(["two"]));
  }, 60_000);

  test("many times at once leaves the newest certificate in use", async () => {
    using files = new Renewable(one);
    await using server = await Server.start({ args: files.args });
    for (let i = 0; i < 5; i++) files.renew(server, i % 2 === 0 ? one : two);
    files.renew(server, two);
    let inARow = 0;
    await until("only the newest is used", async () => {
      inARow = (await shown(server)) === "two" ? inARow + 1 : 0;
      return inARow === 50;
    });
    expect(await server.end()).toBe(0);
    expect(await shown(server)).not.toMatch(/one|two/);
  }, 30_000);

  test("keeps the old certificate when a file is broken or missing, and logs it", async () => {
    using files = new Renewable(one);
    using folder = new Folder();
    const ports = ["--http", "--nats", "--ws"].flatMap((name) => [name, "127.0.0.1:0"]);
    await using live = new AtTerminal(folder, ["serve", "--data", "data", ...ports, ...files.args]);
    const file = folder.file("data", "ready.json");
    await until("ready.json exists", () => existsSync(file));
    const server: Reachable = { ready: JSON.parse(readFileSync(file, "utf8")) };
    const countOf = (what: string) => live.said.split(what).length - 1;
    const pem = (kind: string) => `-----BEGIN ${kind}-----\nAAAA\n-----END ${kind}-----\n`;
    const broken: readonly (readonly [string | null, string | null])[] = [
      ["", null],
      ["a file that is not PEM", null],
      [pem("CERTIFICATE"), null],
      [readFileSync(two?.cert ?? "", "utf8"), null],
      [null, pem("PRIVATE KEY")],
    ];
    for (const [index, [cert, key]] of broken.entries()) {
      files.spoil(live, cert, key);
      await until(`refusal ${index + 1}`, () => countOf("could not reload the TLS files") === index + 1);
      expect([index, await shown(server)]).toEqual([index, "one"]);
    }
    expect(countOf("reloaded the TLS files")).toBe(0);
    files.renew(live, two);
    await until("two is used", async () => (await shown(server)) === "two");
    expect((await get(`${server.ready.http}/healthz`)).status).toBe(200);
  }, 30_000);

  test("does nothing to a server without TLS", async () => {
    await using server = await Server.start();
    for (let i = 0; i < 3; i++) process.kill(server.pid, "SIGHUP");
    expect((await fetch(`${server.ready.http}/healthz`)).status).toBe(200);
    expect(await server.end()).toBe(0);
  }, 20_000);
});

describe("serve refuses, in one line with the setting and the fix,", () => {
  const everywhere = ["--http", "0.0.0.0:0"];
  const set = (text: string) => ["--set", text];
  const tls = () => ["--tls-cert", one?.cert ?? "", "--tls-key", one?.key ?? ""];
  const cases: readonly (readonly [string, () => string[], RegExp])[] = [
    ["a certificate without its key", () => tls().slice(0, 2), /--tls-key: not set/],
    ["a key without its certificate", () => tls().slice(2), /--tls-cert: not set/],
    [
      "a key that does not match its certificate",
      () => [...tls().slice(0, 3), two?.key ?? ""],
      /--tls-cert.*--tls-key/,
    ],
    ["a public address without TLS", () => everywhere, /http\.listen 0\.0\.0\.0.*--tls-cert.*http\.allow_cleartext/],
    ["soft with TLS", () => [...tls(), ...set("auth.mode=soft")], /auth\.mode: soft is not allowed with TLS.*enforce/],
    ["off with TLS", () => [...tls(), ...set("auth.mode=off")], /auth\.mode: off is not allowed with TLS.*enforce/],
    ["off on a public address with TLS", () => [...everywhere, ...tls(), ...set("auth.mode=off")], /auth\.mode: off/],
    [
      "soft behind a proxy on a public address",
      () => [...everywhere, ...set("auth.mode=soft"), ...set('http.trusted_proxies=["10.0.0.0/8"]')],
      /auth\.mode: soft is not allowed on a public address/,
    ],
  ];
  test.each(cases)("%s", async (_, args, message) => {
    using folder = new Folder();
    expect(await refusal(folder, args())).toMatch(message);
  });
});

describe("a public address", () => {
  const everywhere = ["--http", "0.0.0.0:0"];

  /** Creates an unencrypted and an encrypted room; returns both statuses. */
  async function rooms(server: Server): Promise<number[]> {
    const owner = await generateIdentity();
    const keys = ["--sign-pub", owner.signPubHex, "--kex-pub", owner.kexPubHex, "--kex-sig", owner.kexSig];
    const added = await unibus(server.folder, ["user", "add", "owner", ...keys, "--data", "data"]);
    expect(added.code).toBe(0);
    const statuses: number[] = [];
    for (const rules of [policy(), policy("encrypt")]) {
      const body = JSON.stringify(createBody(newRoom(owner, freshSubject(), rules)));
      const headers = signedHeaders(owner, { url: server.ready.http, method: "POST", target: "/rooms", body });
      const reply = await get(`${server.ready.http}/rooms`, { method: "POST", headers, body });
      if (reply.status !== 201) expect(await reply.json()).toMatchObject({ code: "forbidden" });
      statuses.push(reply.status);
    }
    return statuses;
  }

  test("can be served in the clear if the settings allow it, and then refuses unencrypted rooms", async () => {
    await using server = await Server.start({ args: [...everywhere, "--set", "http.allow_cleartext=true"] });
    expect(server.ready.http).toMatch(/^http:\/\/127\.0\.0\.1:/);
    expect(await rooms(server)).toEqual([403, 201]);
  }, 20_000);

  test("with TLS accepts unencrypted rooms if the settings allow them", async () => {
    using files = new Renewable(one);
    const args = [...files.args, ...everywhere, "--set", "rooms.allow_unencrypted=true"];
    await using server = await Server.start({ args });
    expect(await rooms(server)).toEqual([201, 201]);
  }, 20_000);

  test("with TLS refuses unencrypted rooms otherwise", async () => {
    using files = new Renewable(one);
    await using server = await Server.start({ args: [...files.args, ...everywhere] });
    expect(await rooms(server)).toEqual([403, 201]);
  }, 20_000);
});
