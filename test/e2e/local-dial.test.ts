/**
 * Commands on the server's own machine: they dial loopback, and sign for the public name.
 * Source: docs/protocol/requests.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import { connect, parseJoinLink, register } from "../../src/client/index.ts";
import { adminLink } from "../support/accounts.ts";
import { Authority } from "../support/certificates.ts";
import { CliPeer } from "../support/cli-peer.ts";
import { Server } from "../support/executable.ts";
import { addUser, freshSubject, postUser } from "../support/peer.ts";

const publicUrl = "https://bus.example/app";

describe("behind a TLS proxy", () => {
  let server: Server;
  let admin: Identity;
  beforeAll(async () => {
    server = await Server.start({ args: ["--public-url", publicUrl, "--set", "http.rate=100000"] });
    admin = await addUser(server, "root", { admin: true });
  });
  afterAll(() => server[Symbol.asyncDispose]());

  const peer = async (handle: string): Promise<CliPeer> => CliPeer.join(server, admin, handle);
  const dial = () => ["--url", publicUrl, "--dial", new URL(server.ready.http).host];

  test("ready.json contains the address to dial and the URL to sign for", () => {
    expect(server.ready.http).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect(server.ready.public_url).toBe(publicUrl);
  });

  test("a command that signs for loopback is refused with a fix, which works on both planes", async () => {
    using ana = await peer("ana");
    const refused = await ana.run(["whoami"]);
    expect(refused.code).not.toBe(0);
    const { host } = new URL(server.ready.http);
    expect(refused.stderr).toContain(`signed for "${host}", but this bus answers to ${publicUrl}`);
    expect(refused.stderr).toContain(`--url ${publicUrl} --dial ${host}`);

    expect(await ana.ok(["whoami", ...dial()])).toContain("ana");
    const subject = freshSubject();
    await ana.ok(["room", "new", subject, "--mode", "matrix", ...dial()]);
    await ana.ok(["send", subject, "hello from here", ...dial()]);
    expect(await ana.ok(["history", subject, ...dial()])).toContain("hello from here");
    // Also with a scheme, and from the environment.
    expect(await ana.ok(["whoami", "--url", publicUrl, "--dial", server.ready.http])).toContain("ana");
    const done = await ana.run(["whoami", "--url", publicUrl, "--dial", "127.0.0.1"]);
    expect([done.code, done.stderr]).toEqual([
      1,
      expect.stringContaining('"127.0.0.1" is not an address to dial (write it as in'),
    ]);
  }, 60_000);

  test("a join link can be redeemed", async () => {
    await using fresh = await Server.start({ args: ["--public-url", publicUrl] });
    const identity = await generateIdentity();
    const link = parseJoinLink(adminLink(fresh));
    expect(link.url).toBe(publicUrl);
    const { role } = await register(link, identity, { dial: new URL(fresh.ready.http).host });
    expect(role).toBe("admin");
  });

  test("plain http is refused except to this machine", async () => {
    const identity = await postUser(server, admin, "eve");
    for (const dial of ["http://192.0.2.1:4711", "http://bus.example:4711"]) {
      const connecting = connect({ url: publicUrl, dial, identity, state: "memory" });
      await expect(connecting).rejects.toMatchObject({ code: "invalid" });
    }
    const urls = [publicUrl, "https://two.example"];
    const connecting = connect({ urls, dial: "127.0.0.1:1", identity, state: "memory" });
    await expect(connecting).rejects.toMatchObject({ code: "invalid" });
  });
});

describe("a server with its own TLS", () => {
  test("can be dialled at loopback, and must present the certificate of its public name", async () => {
    using authority = new Authority();
    const { cert, key } = authority.issue("bus", "DNS:bus.example");
    const tls = ["--tls-cert", cert, "--tls-key", key];
    await using server = await Server.start({ args: [...tls, "--public-url", "https://bus.example"] });
    const identity = await generateIdentity();
    const { signPubHex, kexPubHex, kexSig } = identity;
    const keys = ["--sign-pub", signPubHex, "--kex-pub", kexPubHex, "--kex-sig", kexSig];
    using ana = new CliPeer(server, identity, "ana");
    await ana.ok(["user", "add", "ana", ...keys, "--data", server.data]);
    const trust = { NODE_EXTRA_CA_CERTS: authority.file };
    Object.assign(ana.env, trust);
    const { host } = new URL(server.ready.http);
    const way = ["--url", "https://bus.example", "--dial", host];
    expect(await ana.ok(["whoami", ...way])).toContain("ana");
    const subject = freshSubject();
    await ana.ok(["room", "new", subject, "--mode", "matrix", ...way]);
    await ana.ok(["send", subject, "hello", ...way]);
    const other = await ana.run(["whoami", "--url", "https://other.example", "--dial", host]);
    expect([other.code, other.stderr]).toEqual([1, expect.stringContaining("certificate")]);
  }, 60_000);
});
