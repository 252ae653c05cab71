import { BlockList, isIP, isIPv4 } from "node:net";
import { plainAddress } from "../wire/address.ts";
import { refusal } from "./manifest.ts";

/** Requests a second for one client where the configuration says nothing. */
export const rateDefault = 100;
/** How many seconds of its rate a client may use at once. */
const burstS = 2;
/** How many clients are remembered: past it the one unseen for longest is forgotten. */
const clientsMax = 100_000;

/** Token buckets by client. Memory is bounded whatever addresses come. */
export class Limiter {
  readonly #buckets = new Map<string, { tokens: number; at: number }>();

  constructor(readonly perSecond: number) {}

  /** Takes one token: 0 when there was one, else the seconds after which to try again. */
  take(client: string, nowMs: number): number {
    const burst = this.perSecond * burstS;
    const bucket = this.#buckets.get(client) ?? { tokens: burst, at: nowMs };
    bucket.tokens = Math.min(burst, bucket.tokens + (Math.max(0, nowMs - bucket.at) / 1000) * this.perSecond);
    bucket.at = nowMs;
    this.#buckets.delete(client);
    this.#buckets.set(client, bucket);
    if (this.#buckets.size > clientsMax) {
      const oldest = this.#buckets.keys().next().value;
      if (oldest !== undefined) this.#buckets.delete(oldest);
    }
    if (bucket.tokens >= 1) {
      bucket.tokens -= 1;
      return 0;
    }
    return Math.max(1, Math.ceil((1 - bucket.tokens) / this.perSecond));
  }
}

/** Proxies whose X-Forwarded-For is believed. Errors: invalid for what is no IP and no CIDR. */
export function proxyList(entries: readonly string[]): (address: string) => boolean {
  const list = new BlockList();
  for (const entry of entries) {
    const [address = "", bits] = entry.split("/");
    const family = isIPv4(address) ? "ipv4" : "ipv6";
    const prefix = bits === undefined ? (family === "ipv4" ? 32 : 128) : Number(bits);
    if (isIP(address) === 0 || !Number.isInteger(prefix) || prefix < 0 || prefix > (family === "ipv4" ? 32 : 128)) {
      throw refusal("http.trusted_proxies", `${entry} is no IP address and no CIDR`, "as in 10.0.0.0/8");
    }
    list.addSubnet(address, prefix, family);
  }
  return (address) => isIP(address) !== 0 && list.check(address, isIPv4(address) ? "ipv4" : "ipv6");
}

/** Who sent a request: the peer, or, behind trusted proxies, the first address from the right that is none of them. */
export function clientAddress(peer: string, forwarded: string | null, trusted: (address: string) => boolean): string {
  let client = plainAddress(peer);
  if (forwarded === null) return client;
  const hops = forwarded.split(",").map((hop) => plainAddress(hop.trim()));
  while (trusted(client)) {
    const hop = hops.pop();
    if (hop === undefined || isIP(hop) === 0) break;
    client = hop;
  }
  return client;
}

const allowedHeaders = [
  "Content-Type",
  "Authorization",
  ...["Host", "Pub", "Ts", "Nonce", "Body", "Sig"].map((name) => `X-Unibus-${name}`),
].join(", ");

/** The CORS headers for an origin, or none. Exact origins only. */
export function corsHeaders(origin: string | null, origins: readonly string[]): Record<string, string> {
  if (origin === null || !origins.includes(origin)) return {};
  return {
    "access-control-allow-origin": origin,
    "access-control-allow-methods": "GET, POST, PUT, DELETE",
    "access-control-allow-headers": allowedHeaders,
    "access-control-expose-headers": "X-Request-Id, Retry-After",
    "access-control-max-age": "600",
    vary: "Origin",
  };
}

/** Checks configured origins. Errors: invalid for `*` and for what is no origin. */
export function checkedOrigins(origins: readonly string[]): readonly string[] {
  for (const origin of origins) {
    const parsed = URL.canParse(origin) ? new URL(origin) : null;
    if (parsed === null || parsed.origin !== origin) {
      throw refusal("http.cors_origins", `${origin} is no exact origin`, "as in https://chat.example.org");
    }
  }
  return origins;
}
