/** A host and port to listen on or to dial. */
export interface Address {
  /** A name or an IP address, IPv6 without brackets. */
  readonly hostname: string;
  readonly port: number;
}

/** The addresses on which a server listens unless its configuration names others. */
export const listenDefaults = { http: "127.0.0.1:8470", nats: "127.0.0.1:4250", ws: "127.0.0.1:8480" } as const;

/** Parses `HOST:PORT`, with IPv6 in brackets. Returns null if it does not parse. */
export function parseAddress(text: string): Address | null {
  const [, v6, name, digits] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]/\s]+)):(\d{1,5})$/.exec(text) ?? [];
  const hostname = v6 ?? name;
  const port = Number(digits);
  return hostname === undefined || port > 65_535 ? null : { hostname, port };
}

/** Formats a host for a URL: IPv6 goes in brackets. */
export function urlHost(hostname: string): string {
  return hostname.includes(":") ? `[${hostname}]` : hostname;
}

/** The `HOST:PORT` at which this machine reaches a listener: a wildcard address becomes the loopback address. */
export function dialled({ hostname, port }: Address): string {
  const host = hostname === "0.0.0.0" ? "127.0.0.1" : hostname === "::" ? "::1" : hostname;
  return `${urlHost(host)}:${port}`;
}

/** Reports whether a host is a loopback address, so only this machine can reach it. IPv6 with or without brackets. */
export function isLoopback(hostname: string): boolean {
  return /^(localhost|\[?::1\]?|127\.\d{1,3}\.\d{1,3}\.\d{1,3})$/.test(hostname);
}

/** The default port that a NATS client dials for each URL scheme. */
const natsPorts: Readonly<Record<string, string>> = { "nats:": "4222", "tls:": "4222", "ws:": "80", "wss:": "443" };

/** Reports whether a text is a NATS server URL without user or query. Only a WebSocket URL may have a path. */
export function isNatsUrl(text: string): boolean {
  const url = URL.canParse(text) ? new URL(text) : null;
  return (
    url !== null &&
    url.protocol in natsPorts &&
    url.hostname !== "" &&
    /^([a-z]+:\/\/[^/@?#]+\/?|wss?:\/\/[^@?#]+)$/i.test(text)
  );
}

/** The host:port that a login at a NATS URL is signed for: lowercase, IPv6 in brackets, the port always present. */
export function natsHost(url: string): string {
  const { protocol, hostname, port } = new URL(url);
  return `${hostname.toLowerCase()}:${port === "" ? (natsPorts[protocol] ?? "4222") : port}`;
}

/** Unwraps an IPv4 address mapped into IPv6 (`::ffff:a.b.c.d`). Returns any other address unchanged. */
export function plainAddress(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  return mapped?.[1] ?? address;
}

/** The key that identifies one client for limits: an IPv4 address, or the /64 of an IPv6 address. */
export function clientKey(address: string): string {
  if (!address.includes(":")) return address;
  const [head = "", tail] = (address.split("%")[0] ?? "").split("::");
  const front = head === "" ? [] : head.split(":");
  const back = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : 8 - front.length - back.length;
  const groups = [...front, ...Array<string>(Math.max(0, zeros)).fill("0"), ...back];
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(":")}::/64`;
}

/**
 * Parses an http or https base URL and strips trailing slashes. Returns null for anything else, or for a URL with a
 * query or fragment.
 */
export function baseUrl(text: string): string | null {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol) || url.search !== "" || url.hash !== "") return null;
  return text.replace(/\/+$/, "");
}
