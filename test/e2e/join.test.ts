/**
 * `unibus join`: how it finds a link in text, which links it refuses, and what happens to the identity file when the
 * join fails. Also the public URL in links. A token must only go to the host that its link names.
 * Source: docs/protocol/identity.md, docs/protocol/logins.md.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { adminLink, firstAdmin, firstAdminByCommand, identityAt, invite, join } from "../support/accounts.ts";
import { Folder, Server, unibus } from "../support/executable.ts";
import { send, signedHeaders } from "../support/peer.ts";

const token = "a1".repeat(32);

describe("join refuses, and creates no identity for,", () => {
  test.each([
    ["plain http to another machine", `http://bus.example.org/join#${token}`, "does not use TLS"],
    ["plain http to a network address", `http://192.0.2.1:1/join#${token}`, "does not use TLS"],
    [
      "plain http to a name that begins like this machine's",
      `http://localhost.example.org/join#${token}`,
      "does not use TLS",
    ],
    ["plain http to a host hidden in the user part", `http://127.0.0.1@example.org/join#${token}`, "does not use TLS"],
    ["a link without its token", "https://bus.example.org/join", "has lost the part after #"],
    ["a truncated token", `https://bus.example.org/join#${token.slice(2)}`, "is cut off"],
    ["another scheme", `ftp://bus.example.org/join#${token}`, "not a join link"],
    ["a text without a link", "hello", "not a join link"],
    ["nothing", "", "no link given"],
    ["two links", `https://a.example/join#${token} https://b.example/join#${token}`, "contains two join links"],
  ])("%s", async (_, link, why) => {
    using folder = new Folder();
    const done = await join(folder, link, "me.json");
    expect([done.code, done.stdout]).toEqual([1, ""]);
    expect(done.stderr).toStartWith("error: ");
    expect(done.stderr).toContain(why);
    expect(done.stderr).not.toContain(token);
    expect(existsSync(folder.file("me.json"))).toBe(false);
  });

  test("no link", async () => {
    using folder = new Folder();
    expect((await unibus(folder, ["join"])).code).toBe(2);
  });
});

test("a link is found within a message, on the command line and on stdin", async () => {
  await using server = await Server.start();
  const { folder } = server;
  const words = ["You", "are", "invited:", `<${adminLink(server)}>.`, "See", "you!"];
  const admin = await unibus(folder, ["join", ...words, "--identity", "admin.json"]);
  expect([admin.code, admin.stderr]).toEqual([0, expect.not.stringContaining("error")]);
  const { link } = await invite(server, await identityAt(folder, "admin.json"), { handle: "Bea" });
  const wrapped = `\ufeff> Hello Bea,\r\n> ${link.slice(0, 60)}\r\n> ${link.slice(60).toUpperCase()}\r\n> Bye`;
  const bea = await unibus(folder, ["join", "-", "--identity", "bea.json", "--json"], { stdin: wrapped });
  expect([bea.code, JSON.parse(bea.stdout)]).toEqual([0, expect.objectContaining({ handle: "Bea" })]);
}, 20_000);

test("the key of an existing user does not spend the invite", async () => {
  await using server = await Server.start();
  const admin = await firstAdminByCommand(server);
  const { link } = await invite(server, admin, { handle: "Bea" });
  const again = await join(server.folder, link, "admin.json");
  expect([again.code, again.stdout]).toEqual([1, ""]);
  expect(again.stderr).toStartWith(`error: this identity is already a user of ${server.ready.http}, "admin" (`);
  const bea = await join(server.folder, link, "bea.json");
  expect([bea.code, JSON.parse(bea.stdout)]).toEqual([0, expect.objectContaining({ handle: "Bea" })]);
}, 20_000);

test("if the server is down, the identity is kept, and the next attempt uses it", async () => {
  using folder = new Folder();
  const done = await join(folder, `http://127.0.0.1:1/join#${token}`, "me.json");
  expect([done.code, done.stderr]).toEqual([1, expect.stringContaining("cannot reach http://127.0.0.1:1")]);
  expect(done.stderr).not.toContain(token);
  const made = await identityAt(folder, "me.json");
  await using server = await Server.start({ folder });
  expect((await join(folder, adminLink(server), "me.json")).code).toBe(0);
  expect((await identityAt(folder, "me.json")).endpoint).toBe(made.endpoint);
}, 20_000);

test("a corrupt identity file is reported, not replaced, and nothing is redeemed", async () => {
  await using server = await Server.start();
  writeFileSync(server.folder.file("me.json"), "{}");
  const link = adminLink(server);
  const done = await join(server.folder, link, "me.json");
  expect([done.code, done.stderr]).toEqual([1, expect.stringMatching(/^error: .*me\.json/)]);
  expect((await join(server.folder, link, "new.json")).code).toBe(0);
}, 20_000);

test("a token is not sent to the target of a redirect", async () => {
  using folder = new Folder();
  const seen: string[] = [];
  using other = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async (request) => {
      seen.push(await request.text());
      return Response.json({ handle: "x", role: "member" });
    },
  });
  for (const status of [301, 302, 303, 307, 308]) {
    using bus = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: () => new Response(null, { status, headers: { location: `http://127.0.0.1:${other.port}/register` } }),
    });
    const done = await join(folder, `http://127.0.0.1:${bus.port}/join#${token}`, "me.json");
    expect([status, done.code, done.stderr]).toEqual([status, 1, expect.stringContaining(`answered ${status}`)]);
  }
  expect(seen).toEqual([]);
}, 20_000);

test.each(["<html>busy</html>", '{"error":"no"}', "null", ""])(
  "an answer that is not from a unibus server is reported: %s",
  async (body) => {
    using folder = new Folder();
    using bus = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response(body, { status: 502 }) });
    const done = await join(folder, `http://127.0.0.1:${bus.port}/join#${token}`, "me.json");
    expect(done.code).toBe(1);
    expect(done.stderr).toMatch(/error: (no|http:\S+ answered 502: the proxy cannot reach the server \(.*\))\n$/);
  },
);

test("a public URL is used in links, also those of host commands, and requests may be signed for it", async () => {
  const publicUrl = "https://Bus.Example.org/chat/";
  await using server = await Server.start({ args: ["--public-url", publicUrl] });
  const base = "https://Bus.Example.org/chat";
  expect(adminLink(server)).toStartWith(`${base}/join#`);
  const { folder } = server;
  // This test has no proxy in front of the server, so dial the server itself instead.
  const way = ["--dial", new URL(server.ready.http).host, "--identity", folder.file("admin.json")];
  expect((await unibus(folder, ["join", adminLink(server), ...way])).code).toBe(0);
  const admin = await identityAt(folder, "admin.json");
  expect((await invite(server, admin, { handle: "Bea" })).link).toStartWith(`${base}/join#`);
  const made = await unibus(folder, ["invite", "new", "Cy", "--data", "data"]);
  expect(made.stdout).toStartWith(`${base}/join#`);

  const signedFor = async (host: string) => {
    const target = "/directory";
    const headers = signedHeaders(admin, { url: server.ready.http, method: "GET", target, host });
    return (await send(`${server.ready.http}${target}`, { headers })).json.code ?? "fine";
  };
  expect(await signedFor("bus.example.org")).toBe("fine");
  for (const host of ["bus.example.org:8443", "example.org", "chat.bus.example.org"]) {
    expect([host, await signedFor(host)]).toEqual([host, "wrong_host"]);
  }
}, 20_000);

test.each(["ftp://bus.example.org", "bus.example.org", "https://bus.example.org/?x=1", "https://bus.example.org/#x"])(
  "an invalid public URL is refused: %s",
  async (publicUrl) => {
    using folder = new Folder();
    const done = await unibus(folder, ["serve", "--public-url", publicUrl, "--http", "127.0.0.1:0"]);
    expect([done.code, done.stderr]).toEqual([
      1,
      expect.stringMatching(/^error: http\.public_url: .*\(for example https/),
    ]);
  },
);

test("without a public URL a host command uses that of the running server", async () => {
  await using server = await Server.start();
  await firstAdmin(server);
  const made = await unibus(server.folder, ["invite", "new", "Bea", "--data", "data", "--json"]);
  const { link } = JSON.parse(made.stdout) as { link: string };
  expect(link).toStartWith(`${server.ready.http}/join#`);
  expect((await join(server.folder, link, "bea.json")).code).toBe(0);
}, 20_000);
