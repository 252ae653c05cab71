import { describe, expect, test } from "bun:test";
import type { Site } from "../../../src/contracts/plugin.ts";
import { hostNames } from "../../../src/plugins/auth/hosts.ts";

const port = 4_711;
function siteAt(hostname: string, more: { publicUrl?: string; hosts?: string[] } = {}): Site {
  return {
    version: "0.0.0",
    dataDir: "",
    flags: {},
    facts: {},
    publicUrl: more.publicUrl ?? null,
    url: () => "",
    hosts: more.hosts ?? [],
    listener: { hostname, port: () => port, tls: false, isPublic: false, allowCleartext: false },
  };
}

describe("the hosts for which a request may be signed", () => {
  const loopback = ["localhost", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:9", "localhost:65535", "127.1.2.3:5"];
  test("are loopback names with any port, wherever the bus listens", () => {
    for (const listener of ["127.0.0.1", "0.0.0.0", "::", "192.0.2.1"]) {
      for (const host of loopback) expect([host, hostNames(siteAt(listener)).accepts(host)]).toEqual([host, true]);
    }
  });

  test("are the bound address, with its own port only", () => {
    const { accepts } = hostNames(siteAt("192.0.2.1"));
    expect(accepts(`192.0.2.1:${port}`)).toBe(true);
    for (const host of ["192.0.2.1", "192.0.2.1:1", `192.0.2.2:${port}`, `a192.0.2.1:${port}`]) {
      expect([host, accepts(host)]).toEqual([host, false]);
    }
    const v6 = hostNames(siteAt("2001:db8::1"));
    expect(v6.accepts(`[2001:db8::1]:${port}`)).toBe(true);
    expect(v6.accepts(`[2001:db8::2]:${port}`)).toBe(false);
  });

  test("are the published URL's and the setting's, exactly as they stand there", () => {
    const { accepts } = hostNames(
      siteAt("127.0.0.1", { publicUrl: "https://bus.example", hosts: ["other.example:99"] }),
    );
    for (const host of ["bus.example", "other.example:99"]) expect([host, accepts(host)]).toEqual([host, true]);
    const others = [
      "bus.example:443",
      "bus.example:8",
      "other.example",
      "x.bus.example",
      "bus.example.x",
      ".bus.example",
    ];
    for (const host of others) expect([host, accepts(host)]).toEqual([host, false]);
    expect(
      hostNames(siteAt("127.0.0.1", { publicUrl: "https://bus.example:444/base" })).accepts("bus.example:444"),
    ).toBe(true);
  });

  test("are nobody else's", () => {
    const { accepts } = hostNames(siteAt("127.0.0.1"));
    const others = [
      "",
      ":",
      "evil.example",
      "localhost.evil.example",
      "127.0.0.1.evil.example",
      "128.0.0.1",
      "::1:",
      "[::2]",
    ];
    for (const host of others) expect([host, accepts(host)]).toEqual([host, false]);
  });
});

describe("the hosts for which a login may be signed", () => {
  test("are the same without ports, each once", () => {
    const site = siteAt("192.0.2.1", {
      publicUrl: "https://bus.example:444",
      hosts: ["other.example:99", "[2001:db8::5]:1"],
    });
    const logins = hostNames(site).logins();
    const wanted = ["127.0.0.1", "localhost", "[::1]", "bus.example", "other.example", "[2001:db8::5]", "192.0.2.1"];
    expect([...logins].sort()).toEqual(wanted.sort());
    expect(new Set(logins).size).toBe(logins.length);
  });
});

describe("in a cluster", () => {
  const site = siteAt("127.0.0.1", { publicUrl: "https://bus.example", hosts: ["other.example:99"] });
  const { accepts, isShared } = hostNames(site, true);

  test("loopback goes with the node's own port only, which nodes of other machines have, too", () => {
    for (const host of [`localhost:${port}`, `127.0.0.1:${port}`, `[::1]:${port}`]) {
      expect([host, accepts(host), isShared(host)]).toEqual([host, true, true]);
    }
    for (const host of ["localhost", "127.0.0.1", "[::1]:9", `127.0.0.1:${port + 1}`, `127.0.0.2:${port}`]) {
      expect([host, accepts(host)]).toEqual([host, false]);
    }
  });

  test("an address that one node has is not shared", () => {
    const there = hostNames(siteAt("192.0.2.1"), true);
    const host = `192.0.2.1:${port}`;
    expect([there.accepts(host), there.isShared(host)]).toEqual([true, false]);
  });

  test("the published names are those that nodes share", () => {
    for (const host of ["bus.example", "other.example:99"]) {
      expect([host, accepts(host), isShared(host)]).toEqual([host, true, true]);
    }
  });
});
