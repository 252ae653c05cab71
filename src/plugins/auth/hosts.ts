/**
 * The names of this bus: the host[:port] that a request may be signed for, and the host:port that a NATS login may be
 * signed for.
 *
 * A signature names the bus it is meant for, so that no other bus can use it. Some names belong to many machines:
 * `127.0.0.1` is every machine's own, and `192.168.1.10` exists on many home networks. A hostile bus there could get a
 * client to sign for such a name and replay the signature here. So a name that the operator configured (`public_url`,
 * `hosts`, `advertise`) is accepted from everywhere. A name derived from the bind address is accepted only from peers
 * that could have dialled it: loopback names from this machine, private addresses from private addresses.
 * Source: docs/protocol/requests.md, docs/protocol/logins.md.
 */
import { BlockList, isIP, isIPv4 } from "node:net";
import { networkInterfaces } from "node:os";
import type { LoginPlace, Origin } from "../../contracts/auth.ts";
import type { Site } from "../../contracts/plugin.ts";
import { type Address, isLoopback, natsHost, parseAddress, urlHost } from "../../wire/address.ts";
import { UnibusError } from "../../wire/errors.ts";

/** The names by which a signature may address this bus, so that it is not valid at another bus. */
export interface HostNames {
  /** Returns why a request signed for this host[:port] is refused and how to fix it, or null if it is accepted. */
  refusal(host: string, from: Origin): string | null;
  /** Whether other nodes of this bus may also accept the host. */
  isShared(host: string): boolean;
  /** Lists every host:port that a NATS login from this place and origin may be signed for, without duplicates. */
  logins(place: LoginPlace, from: Origin): readonly string[];
  /** Returns the reason, for the log, why a login signed for this host:port is refused. */
  loginRefusal(host: string, place: LoginPlace, from: Origin): string;
}

const everywhere = new Set(["0.0.0.0", "::"]);

/** The names by which every machine reaches itself. */
const loopbackNames: readonly string[] = ["127.0.0.1", "localhost", "::1"];

/** How long the list of this machine's addresses is cached, in milliseconds. */
const interfacesAgeMsMax = 5_000;

const privateRanges = new BlockList();
for (const [net, bits] of [
  ["10.0.0.0", 8],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  ["169.254.0.0", 16],
] as const)
  privateRanges.addSubnet(net, bits, "ipv4");
privateRanges.addSubnet("fc00::", 7, "ipv6");
privateRanges.addSubnet("fe80::", 10, "ipv6");

/** Whether an address is in a private network: RFC 1918, unique local or link-local. */
function isPrivate(address: string): boolean {
  return isIP(address) !== 0 && privateRanges.check(address, isIPv4(address) ? "ipv4" : "ipv6");
}

/** Returns a cached reader of this machine's addresses. They can change after the bus has started. */
function machineAddresses(): () => readonly string[] {
  let known: readonly string[] = [];
  let readAtMs = Number.NEGATIVE_INFINITY;
  return () => {
    if (performance.now() - readAtMs > interfacesAgeMsMax) {
      known = Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address));
      readAtMs = performance.now();
    }
    return known;
  };
}

/** The hosts at which a listener bound to `hostname` is reached. `own` lists the addresses of its machine. */
function hostsOf(hostname: string, own: readonly string[]): string[] {
  if (everywhere.has(hostname)) return [...new Set([...loopbackNames, ...own])];
  return isLoopback(hostname) ? [...new Set([...loopbackNames, hostname])] : [hostname.toLowerCase()];
}

/** Splits a host into name and port. The port is null if the host has none. */
function partsOf(host: string): { readonly hostname: string; readonly port: number | null } {
  return parseAddress(host) ?? { hostname: host.replace(/^\[|\]$/g, ""), port: null };
}

const hostShape = /^(\[[0-9a-f:.]{2,45}\]|[a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9_])?)(:[1-9][0-9]{0,4})?$/;

/** Validates `http.hosts`. Errors: invalid for an entry that no client would ever sign. */
function checkHosts(hosts: readonly string[]): void {
  const wrong = hosts.find((host) => !hostShape.test(host));
  if (wrong === undefined) return;
  const hint = "for example bus.example.org, bus.example.org:8443 or [2001:db8::1]:8470";
  throw new UnibusError("invalid", `http.hosts: ${JSON.stringify(wrong)} is not a host or host:port (${hint})`);
}

/**
 * Explains why a name is not accepted and how to fix it. `names` are the accepted names, `otherUrl` is the public URL
 * of a bus with a name of its own, and `dial` explains how to sign for that URL.
 */
function refusalOf(
  host: string,
  {
    names,
    otherUrl,
    dial,
  }: { readonly names: readonly string[]; readonly otherUrl: string | null; readonly dial: string },
): string {
  const { hostname } = partsOf(host);
  const signed = `signed for ${JSON.stringify(host)}`;
  const add = `add ${JSON.stringify(host)} to http.hosts if clients reach this bus by that name`;
  if (isLoopback(hostname) && otherUrl !== null)
    return `${signed}, but this bus answers to ${otherUrl} (${dial}, or ${add})`;
  if (isLoopback(hostname) || isPrivate(hostname)) {
    const from = isLoopback(hostname) ? "from this machine, with the bus's own port," : "from a private address";
    return `${signed}, which is accepted only ${from} and without a proxy (${add})`;
  }
  const known = names.length === 0 ? "" : `, but this bus answers to ${names.join(", ")}`;
  return `${signed}${known} (dial a name of this bus, or ${add})`;
}

/** Returns the names of a site. `isCluster`: several nodes share names. Errors: invalid for a bad `http.hosts`. */
export function hostNames(site: Site, isCluster = false): HostNames {
  checkHosts(site.hosts);
  const published = site.publicUrl === null ? null : new URL(site.publicUrl);
  const fixed = new Set([...(published === null ? [] : [published.host]), ...site.hosts]);
  // A bus with a published name is reached through it, so a loopback peer may be a proxy or a tunnel.
  const hasOwnName = published !== null && !isLoopback(published.hostname);
  const machine = machineAddresses();

  const counts = (hostname: string, { address, isForwarded }: Origin): boolean => {
    if (isLoopback(hostname)) return !hasOwnName && !isForwarded && isLoopback(address);
    return !isPrivate(hostname) || (!isForwarded && isPrivate(address));
  };
  const bound = (): string[] => hostsOf(site.listener.hostname, machine());
  const hostPort = (hostname: string): string => {
    const port = site.listener.port();
    return port === (site.listener.tls ? 443 : 80) ? urlHost(hostname) : `${urlHost(hostname)}:${port}`;
  };
  const accepted = (from: Origin): string[] => [
    ...fixed,
    ...bound()
      .filter((hostname) => counts(hostname, from))
      .map(hostPort),
  ];

  const loginNames = ({ listeners, isHere, urls, isAdvertised }: LoginPlace, from: Origin): string[] => {
    const ports = [...new Set(listeners.map(({ port }) => port))];
    const anyPort = (hostname: string): string[] => ports.map((port) => `${hostname}:${port}`);
    const publicNames = published === null ? [] : [...anyPort(published.hostname), natsHost(asWebSocket(published))];
    const set = site.hosts.flatMap((host) => (partsOf(host).port === null ? anyPort(host) : [host]));
    const listed = urls.map(natsHost).filter((host) => isAdvertised || counts(partsOf(host).hostname, from));
    const own = listeners.flatMap(({ hostname, port }: Address) =>
      hostsOf(hostname, isHere ? machine() : [])
        .filter((name) => counts(name, from))
        .map((name) => `${urlHost(name)}:${port}`),
    );
    return [...new Set([...publicNames, ...listed, ...own, ...set])];
  };

  const refused = (host: string, names: readonly string[], dial: string): string => {
    return refusalOf(host, { names, otherUrl: hasOwnName ? site.publicUrl : null, dial });
  };

  return {
    refusal(host, from) {
      if (fixed.has(host)) return null;
      const names = accepted(from);
      if (names.includes(host)) return null;
      const dial = `sign for it with --url ${site.publicUrl} --dial ${hostPort(loopbackNames[0] ?? "")}`;
      return `request ${refused(host, fixed.size > 0 ? [...fixed] : names, dial)}`;
    },
    isShared: (host) => fixed.has(host) || (isCluster && isLoopback(partsOf(host).hostname)),
    logins: loginNames,
    loginRefusal: (host, place, from) => {
      const names = loginNames(place, from);
      return `login ${refused(host, names, `sign for ${names[0] ?? "its public name"}`)}`;
    },
  };
}

/** The WebSocket URL of NATS for a client that dials the public address itself. */
function asWebSocket({ protocol, host }: URL): string {
  return `${protocol === "https:" ? "wss" : "ws"}://${host}`;
}
