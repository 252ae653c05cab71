import { BlockList, isIP, isIPv4 } from "node:net";
import { plainAddress } from "../wire/address.ts";
import { requestHeaders } from "../wire/sign.ts";
import { refusal } from "./manifest.ts";

/** Parses the trusted proxies. Errors: invalid for an entry that is not an IP address or CIDR range. */
export function proxyList(entries: readonly string[]): (address: string) => boolean {
  const list = new BlockList();
  for (const entry of entries) {
    const [, address = "", bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(entry) ?? [];
    const family = isIPv4(address) ? "ipv4" : "ipv6";
    const prefix = bits === undefined ? (family === "ipv4" ? 32 : 128) : Number(bits);
    if (isIP(address) === 0 || prefix > (family === "ipv4" ? 32 : 128)) {
      throw refusal("http.trusted_proxies", `${entry} is not an IP address or CIDR range`, "for example 10.0.0.0/8");
    }
    list.addSubnet(address, prefix, family);
  }
  return (address) => isIP(address) !== 0 && list.check(address, isIPv4(address) ? "ipv4" : "ipv6");
}

/** The address that sent a request: the peer or, behind trusted proxies, the rightmost untrusted forwarded address. */
export function clientAddress(peer: string, forwarded: string | null, trusted: (address: string) => boolean): string {
  let client = plainAddress(peer);
  const hops = (forwarded ?? "").split(",").map((hop) => plainAddress(hop.trim()));
  while (trusted(client)) {
    const hop = hops.pop();
    if (hop === undefined || isIP(hop) === 0) break;
    client = hop;
  }
  return client;
}

/** Returns the CORS headers for an origin, or none. Only exact origins match. */
export function corsHeaders(origin: string | null, origins: readonly string[]): Record<string, string> {
  if (origin === null || !origins.includes(origin)) return {};
  return {
    "access-control-allow-origin": origin,
    "access-control-allow-methods": "GET, POST, PUT, DELETE",
    "access-control-allow-headers": requestHeaders.join(", "),
    "access-control-expose-headers": "ETag, Retry-After, X-Request-Id",
    "access-control-max-age": "600",
    vary: "Origin",
  };
}
