/**
 * The rate limiter: its token buckets, the bound on its memory, and how it groups addresses into clients behind trusted
 * proxies. Also which origins get CORS headers.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Limiter } from "../../src/contracts/limiter.ts";
import { clientAddress, corsHeaders, proxyList } from "../../src/kernel/http-limits.ts";
import { clientKey } from "../../src/wire/address.ts";
import { refusalOf } from "./bus.ts";

const rate = fc.double({ min: 0.001, max: 10_000, noNaN: true });
const gaps = fc.array(fc.integer({ min: 0, max: 5_000 }), { maxLength: 60 });

describe("the rate limiter", () => {
  test("admits at most a burst plus what the rate refills", () => {
    fc.assert(
      fc.property(rate, gaps, (perSecond, waits) => {
        const limiter = new Limiter(perSecond);
        let [nowMs, taken] = [0, 0];
        for (const wait of waits) {
          nowMs += wait;
          if (limiter.take("a", nowMs) === 0) taken += 1;
        }
        expect(taken).toBeLessThanOrEqual(Math.max(1, 2 * perSecond) + (nowMs / 1000) * perSecond + 1e-6);
      }),
    );
  });

  test("admits the next request after the wait that it announced", () => {
    fc.assert(
      fc.property(rate, fc.nat(1_000_000), (perSecond, startMs) => {
        const limiter = new Limiter(perSecond);
        let waitS = limiter.take("a", startMs);
        expect(waitS).toBe(0);
        while (waitS === 0) waitS = limiter.take("a", startMs);
        expect(limiter.take("a", startMs + waitS * 1000)).toBe(0);
      }),
      { numRuns: 50 },
    );
  });

  test("limits each client separately", () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string(), { minLength: 2, maxLength: 20 }), (clients) => {
        const limiter = new Limiter(1);
        for (const client of clients) expect([1, 2, 3].map(() => limiter.take(client, 0))).toEqual([0, 0, 1]);
      }),
    );
  });

  test("refills nothing when the clock goes back", () => {
    const limiter = new Limiter(1);
    expect([10_000, 9_000, 8_000].map((at) => limiter.take("a", at))).toEqual([0, 0, 1]);
  });

  test("forgets the clients unseen for longest: 200,000 addresses are bounded in memory and in time", () => {
    const limiter = new Limiter(0.5);
    const clients = Array.from({ length: 200_000 }, (_, i) => clientKey(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`));
    const refused = () => clients.filter((client) => limiter.take(client, 0) !== 0).length;
    const began = process.cpuUsage();
    const counts = [refused(), refused(), refused()];
    const { user, system } = process.cpuUsage(began);
    // Each address was evicted before it returned. A single map would need over a minute of the processor for this.
    expect(counts).toEqual([0, 0, 0]);
    expect((user + system) / 1_000).toBeLessThan(20_000);
    expect(limiter.take(clients.at(-1) ?? "", 0)).toBe(2);
  });

  test("remembers at least 50,000 clients", () => {
    const limiter = new Limiter(0.5);
    const clients = Array.from({ length: 50_000 }, (_, i) => `c${i}`);
    for (const client of clients) limiter.take(client, 0);
    expect(clients.filter((client) => limiter.take(client, 0) === 0)).toEqual([]);
  });
});

describe("the client of an address", () => {
  test.each([
    ["192.0.2.1", "192.0.2.1"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:0DB8:0001:0002::1", "2001:db8:1:2::/64"],
    ["2001:db8::1", "2001:db8:0:0::/64"],
    ["::1", "0:0:0:0::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
  ])("%s is %s", (address, key) => {
    expect(clientKey(address)).toBe(key);
  });

  test("is the same for all addresses of an IPv6 /64, and differs between two /64s", () => {
    const group = fc.integer({ min: 0, max: 0xffff }).map((value) => value.toString(16));
    const half = fc.tuple(group, group, group, group).map((groups) => groups.join(":"));
    fc.assert(
      fc.property(half, half, half, (network, host, other) => {
        expect(clientKey(`${network}:${host}`)).toBe(clientKey(`${network}:${other}`));
        const same = clientKey(`${network}:${host}`) === clientKey(`${host}:${network}`);
        expect(same).toBe(network === host);
      }),
    );
  });
});

const ipv4 = fc.ipV4();
const address = fc.oneof(ipv4, fc.ipV6());

describe("X-Forwarded-For", () => {
  test("is ignored when the peer is not a trusted proxy", () => {
    fc.assert(
      fc.property(ipv4, fc.string(), (peer, header) => expect(clientAddress(peer, header, () => false)).toBe(peer)),
    );
  });

  test("is read from the right: a client cannot change its address with entries before those of the proxies", () => {
    const trusted = proxyList(["10.0.0.0/8"]);
    const proxy = fc.tuple(fc.nat(255), fc.nat(255)).map(([a, b]) => `10.0.${a}.${b}`);
    const client = address.filter((one) => !trusted(one));
    fc.assert(
      fc.property(fc.string(), client, fc.array(proxy, { maxLength: 4 }), proxy, (forged, real, proxies, peer) => {
        const header = [forged, real, ...proxies].join(" , ");
        expect(clientAddress(peer, header, trusted)).toBe(clientAddress(peer, real, trusted));
        expect(clientAddress(peer, real, trusted)).toBe(clientAddress(real, null, trusted));
      }),
    );
  });

  test("with an entry that is not an address stops the search at the last proxy", () => {
    const trusted = proxyList(["10.0.0.0/8"]);
    const junk = fc.string().filter((text) => !text.includes(",") && !/^\s*[0-9a-f.:%]+\s*$/i.test(text));
    fc.assert(fc.property(junk, (text) => expect(clientAddress("10.0.0.1", text, trusted)).toBe("10.0.0.1")));
    expect(clientAddress("10.0.0.1", "10.0.0.2, 10.0.0.3", trusted)).toBe("10.0.0.2");
  });

  test("accepts IPv4-mapped IPv6 peers and hops, and addresses with a zone", () => {
    const trusted = proxyList(["10.0.0.0/8", "fd00::/8"]);
    expect(clientAddress("::ffff:10.0.0.1", "::ffff:192.0.2.1", trusted)).toBe("192.0.2.1");
    expect(clientAddress("fd00::1", "192.0.2.1", trusted)).toBe("192.0.2.1");
    expect(clientAddress("fe80::1%eth0", "192.0.2.1", trusted)).toBe("fe80::1%eth0");
    expect(clientAddress("10.0.0.1", "fe80::1%eth0", trusted)).toBe("fe80::1%eth0");
  });
});

describe("trusted proxies", () => {
  test("can be single addresses and networks of both families", () => {
    const trusted = proxyList(["192.0.2.1", "10.0.0.0/8", "2001:db8::/32", "::1"]);
    for (const one of ["192.0.2.1", "10.255.0.1", "2001:db8:ffff::1", "::1"]) expect(trusted(one)).toBe(true);
    for (const one of ["192.0.2.2", "11.0.0.1", "2001:db9::1", "::2", "", "x"]) expect(trusted(one)).toBe(false);
  });

  test.each([
    "x",
    "",
    "10.0.0.0/33",
    "10.0.0.0/-1",
    "10.0.0.0/",
    "10.0.0.0/8/8",
    "10.0.0.0/1e0",
    "::/129",
    "10.0.0/8",
    "/8",
  ])("that are neither address nor network are refused, with the setting and the fix: %s", async (entry) => {
    const { message } = await refusalOf(() => proxyList([entry]));
    const what = `http.trusted_proxies: ${entry} is not an IP address or CIDR range`;
    expect(message).toBe(`${what} (for example 10.0.0.0/8)`);
  });
});

test("only an exactly matching origin gets CORS headers", () => {
  const origins = ["https://a.example", "http://localhost:3000"];
  fc.assert(
    fc.property(fc.oneof(fc.webUrl(), fc.constantFrom(...origins, "null", "*", "")), (origin) => {
      expect(Object.keys(corsHeaders(origin, origins)).length > 0).toBe(origins.includes(origin));
    }),
  );
  expect(corsHeaders(null, origins)).toEqual({});
});
