/**
 * How addresses map to clients, and that each client's rate is independent of the others.
 * Source: docs/protocol/requests.md.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { Limiter } from "../../src/contracts/limiter.ts";
import { clientAddress, proxyList } from "../../src/kernel/http-limits.ts";
import { baseUrl, clientKey, isLoopback, parseAddress, urlHost } from "../../src/wire/address.ts";
import { isHost, targetOf } from "../../src/wire/target.ts";

test("a client's bucket does not depend on the requests of other clients", () => {
  const step = fc.record({ client: fc.constantFrom("a", "b", "c"), waitMs: fc.nat(2_000) });
  fc.assert(
    fc.property(fc.double({ min: 0.1, max: 20, noNaN: true }), fc.array(step, { maxLength: 80 }), (rate, steps) => {
      const together = new Limiter(rate);
      const alone = { a: new Limiter(rate), b: new Limiter(rate), c: new Limiter(rate) };
      let nowMs = 0;
      for (const { client, waitMs } of steps) {
        nowMs += waitMs;
        const own = alone[client as keyof typeof alone];
        expect(together.take(client, nowMs)).toBe(own.take(client, nowMs));
      }
    }),
  );
});

test("every spelling of an IPv6 address is the same client", () => {
  const groups = fc.array(fc.oneof(fc.constant(0), fc.nat(0xffff)), { minLength: 8, maxLength: 8 });
  fc.assert(
    fc.property(groups, (address) => {
      const hex = address.map((group) => group.toString(16));
      const full = hex.join(":");
      const spellings = [full, full.toUpperCase(), hex.map((group) => group.padStart(4, "0")).join(":")];
      // With the longest run of zeros compressed, as systems print it.
      spellings.push(new URL(`http://[${full}]/`).hostname.slice(1, -1));
      expect(new Set(spellings.map(clientKey)).size).toBe(1);
      expect(clientKey(full)).toBe(`${hex.slice(0, 4).join(":")}::/64`);
    }),
  );
});

test("no X-Forwarded-For that a client sends makes it a proxy or another client", () => {
  const trusted = proxyList(["10.0.0.0/8", "fd00::/8"]);
  const forged = fc.array(fc.oneof(fc.ipV4(), fc.ipV6(), fc.string(), fc.constant("10.0.0.1")), { maxLength: 5 });
  const client = fc.oneof(fc.ipV4(), fc.ipV6()).filter((address) => !trusted(address) && !/^::ffff:/i.test(address));
  fc.assert(
    fc.property(forged, client, (lies, real) => {
      // The proxy appends the address that it sees.
      expect(clientAddress("10.0.0.9", [...lies, real].join(", "), trusted)).toBe(real);
      expect(clientAddress(real, lies.join(", "), trusted)).toBe(real);
    }),
  );
});

test("an address reads back as what it was formatted from", () => {
  const host = fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain());
  fc.assert(
    fc.property(host, fc.integer({ min: 0, max: 65_535 }), (hostname, port) => {
      expect(parseAddress(`${urlHost(hostname)}:${port}`)).toEqual({ hostname, port });
      expect(parseAddress(`${urlHost(hostname)}:${port + 65_536}`)).toBeNull();
      expect(isHost(`${urlHost(hostname)}:${port}`)).toBe(true);
    }),
  );
});

test("localhost and 127.0.0.0/8 are the only loopback names", () => {
  fc.assert(fc.property(fc.domain(), (name) => expect(isLoopback(name)).toBe(name === "localhost")));
  fc.assert(fc.property(fc.ipV4(), (address) => expect(isLoopback(address)).toBe(address.startsWith("127."))));
});

test("a target is split into path and query without loss or change", () => {
  const path = fc.webPath();
  fc.assert(
    fc.property(path, fc.option(fc.webQueryParameters(), { nil: undefined }), (name, query) => {
      const target = `/${name.replace(/^\//, "")}${query === undefined ? "" : `?${query}`}`;
      const found = targetOf(`http://bus.example:80${target}`);
      expect(found?.target).toBe(target);
      expect(found?.query).toBe(query ?? "");
      expect(`${found?.path}${query === undefined ? "" : `?${query}`}`).toBe(target);
    }),
  );
});

test("a base URL has no query or fragment", () => {
  const url = fc.webUrl({ withFragments: true, withQueryParameters: true });
  fc.assert(
    fc.property(url, (text) => {
      const isPlain = !/[?#]/.test(text) || /^[^?#]*[?#]$/.test(text);
      const base = baseUrl(text);
      if (base === null) return void expect(isPlain).toBe(false);
      expect(base).not.toEndWith("/");
      expect(new URL(base).search + new URL(base).hash).toBe("");
    }),
  );
});
