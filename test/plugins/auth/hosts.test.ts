/**
 * Which host names a signature may use, depending on the bound address, the configured names, and the peer's address.
 * Covers HTTP requests and NATS logins, and the hints in refusals.
 * Source: docs/protocol/requests.md, docs/protocol/notices.md.
 */
import { describe, expect, test } from "bun:test";
import { networkInterfaces } from "node:os";
import type { LoginPlace, Origin } from "../../../src/contracts/auth.ts";
import type { Site } from "../../../src/contracts/plugin.ts";
import { hostNames } from "../../../src/plugins/auth/hosts.ts";

const port = 4_711;
interface Setup {
  readonly publicUrl?: string;
  readonly hosts?: readonly string[];
  readonly tls?: boolean;
  readonly port?: number;
}
function siteAt(hostname: string, more: Setup = {}): Site {
  return {
    version: "0.0.0",
    dataDir: "",
    flags: {},
    facts: {},
    publicUrl: more.publicUrl ?? null,
    url: () => "",
    hosts: more.hosts ?? [],
    listener: {
      hostname,
      port: () => more.port ?? port,
      tls: more.tls ?? false,
      isPublic: false,
      allowCleartext: false,
    },
  };
}

const from = (address: string, isForwarded = false): Origin => ({ address, isForwarded });
const here = from("127.0.0.1");
const near = from("192.168.7.7");
const far = from("203.0.113.5");

/** The hosts out of some that a request may be signed for. */
function accepted(site: Site, origin: Origin, hosts: readonly string[]): string[] {
  const names = hostNames(site);
  return hosts.filter((host) => names.refusal(host, origin) === null);
}

const loopback = [`127.0.0.1:${port}`, `localhost:${port}`, `[::1]:${port}`];

describe("a loopback name", () => {
  test("is accepted from this machine, with the bound port only", () => {
    for (const bound of ["127.0.0.1", "::1", "localhost", "0.0.0.0", "::"]) {
      expect([bound, accepted(siteAt(bound), here, loopback)]).toEqual([bound, loopback]);
      expect(accepted(siteAt(bound), from("::1"), loopback)).toEqual(loopback);
      const others = ["127.0.0.1", "localhost", "127.0.0.1:1", "localhost:80", "[::1]:9", "[::1]", `127.0.0.9:${port}`];
      expect([bound, accepted(siteAt(bound), here, others)]).toEqual([bound, []]);
    }
    expect(accepted(siteAt("127.0.0.9"), here, [`127.0.0.9:${port}`])).toEqual([`127.0.0.9:${port}`]);
    expect(accepted(siteAt("127.0.0.1", { port: 80 }), here, ["127.0.0.1", "localhost", "127.0.0.1:80"])).toEqual([
      "127.0.0.1",
      "localhost",
    ]);
  });

  test("is refused from elsewhere, through a proxy, and when the server is bound to another address", () => {
    for (const origin of [near, far, from(""), from("2001:db8::1"), from("127.0.0.1", true), from("::1", true)]) {
      expect([origin, accepted(siteAt("0.0.0.0"), origin, loopback)]).toEqual([origin, []]);
    }
    expect(accepted(siteAt("192.0.2.1"), here, loopback)).toEqual([]);
  });

  test("is refused when the server has a public name, unless that is a loopback name, too", () => {
    const named = siteAt("127.0.0.1", { publicUrl: "https://bus.example" });
    expect(accepted(named, here, loopback)).toEqual([]);
    const refusal = hostNames(named).refusal(`127.0.0.1:${port}`, here);
    expect(refusal).toBe(
      `request signed for "127.0.0.1:${port}", but this bus answers to https://bus.example (sign for it with ` +
        `--url https://bus.example --dial 127.0.0.1:${port}, or add "127.0.0.1:${port}" to http.hosts if clients reach this ` +
        "bus by that name)",
    );
    for (const publicUrl of ["http://localhost:9", "http://127.0.0.1:9", "http://[::1]:9"]) {
      expect(accepted(siteAt("127.0.0.1", { publicUrl }), here, loopback)).toEqual(loopback);
    }
  });

  test("is accepted from anywhere as an entry of `hosts`, which is how a published port is named", () => {
    const site = siteAt("0.0.0.0", { hosts: ["127.0.0.1:14711"], publicUrl: "https://bus.example" });
    for (const origin of [here, near, far, from("127.0.0.1", true)]) {
      expect(accepted(site, origin, ["127.0.0.1:14711", ...loopback])).toEqual(["127.0.0.1:14711"]);
    }
    expect(hostNames(siteAt("0.0.0.0")).refusal("127.0.0.1:14711", far)).toContain(
      'is accepted only from this machine, with the bus\'s own port, and without a proxy (add "127.0.0.1:14711" to http.hosts',
    );
  });
});

describe("a bound address", () => {
  test("is accepted with its own port only, from anywhere if it is public", () => {
    const hosts = [`192.0.2.1:${port}`, "192.0.2.1", "192.0.2.1:1", `192.0.2.2:${port}`, `a192.0.2.1:${port}`];
    for (const origin of [here, near, far, from("10.0.0.1", true)]) {
      expect(accepted(siteAt("192.0.2.1"), origin, hosts)).toEqual([`192.0.2.1:${port}`]);
    }
    const v6 = [`[2001:db8::1]:${port}`, `[2001:db8::2]:${port}`];
    expect(accepted(siteAt("2001:db8::1"), far, v6)).toEqual([`[2001:db8::1]:${port}`]);
    expect(accepted(siteAt("192.0.2.1", { tls: true, port: 443 }), far, ["192.0.2.1", "192.0.2.1:443"])).toEqual([
      "192.0.2.1",
    ]);
    expect(accepted(siteAt("192.0.2.1", { port: 80 }), far, ["192.0.2.1", "192.0.2.1:80"])).toEqual(["192.0.2.1"]);
  });

  test("is accepted from a private address and not through a proxy, if it is private", () => {
    for (const [address, host] of [
      ["10.1.2.3", "10.1.2.3"],
      ["172.31.0.1", "172.31.0.1"],
      ["192.168.1.10", "192.168.1.10"],
      ["169.254.1.1", "169.254.1.1"],
      ["fd00::7", "[fd00::7]"],
      ["fe80::7", "[fe80::7]"],
    ] as const) {
      const hosts = [`${host}:${port}`];
      for (const origin of [near, from("10.9.9.9"), from("fe80::1"), from(address)]) {
        expect([address, accepted(siteAt(address), origin, hosts)]).toEqual([address, hosts]);
      }
      for (const origin of [far, here, from(""), from("10.9.9.9", true)]) {
        expect([address, accepted(siteAt(address), origin, hosts)]).toEqual([address, []]);
      }
    }
    // Addresses just outside the private ranges.
    for (const address of ["172.32.0.1", "192.169.0.1", "11.0.0.1", "100.64.0.1", "fec0::1"]) {
      const host = address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
      expect([address, accepted(siteAt(address), far, [host])]).toEqual([address, [host]]);
    }
  });

  test("is each address of this machine when the server is bound to all of them", () => {
    const own = Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address));
    const hosts = own.map((address) => (address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`));
    const by = [here, near, far].flatMap((origin) => accepted(siteAt("0.0.0.0"), origin, hosts));
    expect(new Set(by)).toEqual(new Set(hosts));
  });
});

describe("a published name", () => {
  test("is accepted from anywhere, exactly as configured; the path of the URL belongs to its proxy", () => {
    const site = siteAt("127.0.0.1", { publicUrl: "https://bus.example", hosts: ["other.example:99"] });
    const names = ["bus.example", "other.example:99"];
    const others = [
      "bus.example:443",
      "bus.example:8",
      "other.example",
      "x.bus.example",
      "bus.example.x",
      ".bus.example",
    ];
    for (const origin of [here, near, far, from("127.0.0.1", true)]) {
      expect(accepted(site, origin, [...names, ...others])).toEqual(names);
    }
    const below = siteAt("127.0.0.1", { publicUrl: "https://bus.example:444/base" });
    expect(accepted(below, far, ["bus.example:444", "bus.example:444/base"])).toEqual(["bus.example:444"]);
  });

  test("is refused at boot if no client would ever sign it", () => {
    for (const host of [
      "https://bus.example",
      "bus.example/",
      "",
      "Bus.example",
      "bus example",
      "::1",
      "bus.example:0",
    ]) {
      expect(() => hostNames(siteAt("127.0.0.1", { hosts: [host] }))).toThrow(/^http\.hosts: .* is not a host or/);
    }
    const fine = ["bus.example", "bus.example:8443", "[2001:db8::1]:4711", "[2001:db8::1]", "192.0.2.1", "a_b.c:1"];
    expect(() => hostNames(siteAt("127.0.0.1", { hosts: fine }))).not.toThrow();
  });
});

test("every other name is refused, with an error that quotes it and says what to do", () => {
  const others = ["", ":", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "128.0.0.1", "::1:"];
  for (const origin of [here, near, far]) expect(accepted(siteAt("0.0.0.0"), origin, others)).toEqual([]);
  const refusal = hostNames(siteAt("0.0.0.0", { publicUrl: "https://bus.example" })).refusal("evil.example", far);
  expect(refusal).toStartWith('request signed for "evil.example", but this bus answers to bus.example (dial a name of');
});

test("an error does not show addresses that would be refused from the caller's network", () => {
  const own = Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address));
  const named = hostNames(siteAt("0.0.0.0", { publicUrl: "https://bus.example" })).refusal("evil.example", far);
  for (const address of own) expect(named).not.toContain(address);
  const nameless = hostNames(siteAt("0.0.0.0")).refusal("evil.example", far);
  for (const address of own.filter((one) => /^(127\.|10\.|192\.168\.|172\.(1[6-9]|2|3[01])\.|fe80)/.test(one))) {
    expect(nameless).not.toContain(address);
  }
});

describe("a NATS login", () => {
  const place = (more: Partial<LoginPlace> = {}): LoginPlace => ({
    listeners: [
      { hostname: "127.0.0.1", port: 5250 },
      { hostname: "127.0.0.1", port: 5480 },
    ],
    isHere: true,
    urls: ["nats://127.0.0.1:5250", "ws://127.0.0.1:5480"],
    isAdvertised: false,
    ...more,
  });
  const local = [5250, 5480].flatMap((n) => [`127.0.0.1:${n}`, `localhost:${n}`, `[::1]:${n}`]).sort();

  test("can be signed for loopback names with the bound ports, from this machine", () => {
    const { logins } = hostNames(siteAt("127.0.0.1"));
    expect([...logins(place(), here)].sort()).toEqual(local);
    for (const origin of [near, far]) expect(logins(place(), origin)).toEqual([]);
  });

  test("can be signed for the public name, with the bound ports and the port of the URL", () => {
    const { logins } = hostNames(siteAt("127.0.0.1", { publicUrl: "https://bus.example/app" }));
    const names = ["bus.example:5250", "bus.example:443", "bus.example:5480"];
    for (const origin of [here, near, far]) expect([...logins(place(), origin)].sort()).toEqual([...names].sort());
    const plain = hostNames(siteAt("127.0.0.1", { publicUrl: "http://bus.example:81" }));
    expect(plain.logins(place(), far)).toContain("bus.example:81");
  });

  test("can be signed for the entries of `hosts`: one without a port means the bound ones", () => {
    const hosts = ["one.example", "two.example:99", "127.0.0.1:14250", "[2001:db8::5]"];
    const { logins } = hostNames(siteAt("127.0.0.1", { hosts }));
    const names = ["one.example:5250", "one.example:5480", "two.example:99", "127.0.0.1:14250"];
    expect([...logins(place(), far)].sort()).toEqual([...names, "[2001:db8::5]:5250", "[2001:db8::5]:5480"].sort());
  });

  test("can be signed for the advertised address, from anywhere", () => {
    const urls = ["nats://10.0.0.5:14250", "tls://nats.example", "wss://ws.example", "ws://127.0.0.1:18480"];
    const { logins } = hostNames(siteAt("127.0.0.1"));
    const names = ["10.0.0.5:14250", "nats.example:4222", "ws.example:443", "127.0.0.1:18480"];
    expect(logins(place({ urls, isAdvertised: true }), far)).toEqual(names);
    expect(logins(place({ urls }), far)).toEqual(["nats.example:4222", "ws.example:443"]);
  });

  test("can be signed for this machine's addresses only if the NATS server is embedded", () => {
    const own = Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address));
    const listeners = [{ hostname: "0.0.0.0", port: 5250 }];
    const { logins } = hostNames(siteAt("0.0.0.0"));
    const at = (isHere: boolean) =>
      new Set([here, near, far].flatMap((origin) => [...logins(place({ listeners, urls: [], isHere }), origin)]));
    for (const address of own.filter((one) => !one.includes(":"))) expect(at(true)).toContain(`${address}:5250`);
    expect([...at(false)].sort()).toEqual(local.filter((host) => host.endsWith(":5250")));
  });
});

describe("in a cluster", () => {
  const site = siteAt("127.0.0.1", { hosts: ["other.example:99"], publicUrl: "http://localhost:7" });
  const { refusal, isShared } = hostNames(site, true);

  test("a loopback name counts as shared between nodes on several machines", () => {
    for (const host of loopback) expect([host, refusal(host, here), isShared(host)]).toEqual([host, null, true]);
    for (const host of ["localhost", "127.0.0.1", "[::1]:9", `127.0.0.1:${port + 1}`, `127.0.0.2:${port}`]) {
      expect([host, refusal(host, here) === null]).toEqual([host, false]);
    }
  });

  test("the published names are shared, an address that only one node has is not", () => {
    const there = hostNames(siteAt("192.0.2.1"), true);
    expect([there.refusal(`192.0.2.1:${port}`, far), there.isShared(`192.0.2.1:${port}`)]).toEqual([null, false]);
    expect([refusal("other.example:99", far), isShared("other.example:99")]).toEqual([null, true]);
  });
});
