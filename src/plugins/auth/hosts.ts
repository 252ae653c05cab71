/**
 * The names of this bus: for which host[:port] a request may be signed, and for which host:port a NATS login.
 *
 * A signature names the bus it is meant for, so that no other bus can use it. Some names belong to many machines at
 * once: `127.0.0.1` is every machine's own, `192.168.1.10` exists in every second home. A hostile bus there could have
 * a client sign for such a name and pass the signature on. So a name that the operator wrote down (`public_url`,
 * `hosts`, `advertise`) counts from everywhere; a name that only follows from where the bus is bound counts from peers
 * that could have dialled it: loopback names from this machine, private addresses from private addresses.
 * Source: spec 5, 9.
 */
import { BlockList, isIP, isIPv4 } from "node:net";
import { networkInterfaces } from "node:os";
import type { LoginPlace, Origin } from "../../contracts/auth.ts";
import type { Site } from "../../contracts/plugin.ts";
import { type Address, isLoopback, natsHost, parseAddress, urlHost } from "../../wire/address.ts";
import { UnibusError } from "../../wire/errors.ts";

/** The names by which signatures may call this bus, so that none is valid at another. */
export interface HostNames {
  /** Why a request that is signed for this host[:port] is refused, with what to do about it; null if it is accepted. */
  refusal(host: string, from: Origin): string | null;
  /** Whether other nodes of this bus may accept the host, too. */
  isShared(host: string): boolean;
  /** Every host:port for which a NATS login from there may be signed, each once. */
  logins(place: LoginPlace, from: Origin): readonly string[];
  /** Why a login that is signed for this host:port is refused, for the log. */
  loginRefusal(host: string, place: LoginPlace, from: Origin): string;
}

const everywhere = new Set(["0.0.0.0", "::"]);

/** The names that every machine has for itself. */
const loopbackNames: readonly string[] = ["127.0.0.1", "localhost", "::1"];

/** How long the list of this machine's addresses is used before it is read again, in milliseconds. */
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

/** Whether an address belongs to a private network: RFC 1918, unique local or link-local. */
function isPrivate(address: string): boolean {
  return isIP(address) !== 0 && privateRanges.check(address, isIPv4(address) ? "ipv4" : "ipv6");
}

/** This machine's own addresses. They change: a machine may get its address after the bus has started. */
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

/** The hosts at which something bound to `hostname` is reached; `own`: the addresses of the machine it runs on. */
function hostsOf(hostname: string, own: readonly string[]): string[] {
  if (everywhere.has(hostname)) return [...new Set([...loopbackNames, ...own])];
  return isLoopback(hostname) ? [...new Set([...loopbackNames, hostname])] : [hostname.toLowerCase()];
}

/** A host and its port; null where it names none. */
function partsOf(host: string): { readonly hostname: string; readonly port: number | null } {
  return parseAddress(host) ?? { hostname: host.replace(/^\[|\]$/g, ""), port: null };
}

const hostShape = /^(\[[0-9a-f:.]{2,45}\]|[a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9_])?)(:[1-9][0-9]{0,4})?$/;

/** Errors: invalid for an entry of `http.hosts` that no client would ever sign. */
function checkHosts(hosts: readonly string[]): void {
  const wrong = hosts.find((host) => !hostShape.test(host));
  if (wrong === undefined) return;
  const hint = "as in bus.example.org, bus.example.org:8443 or [2001:db8::1]:8470";
  throw new UnibusError("invalid", `http.hosts: ${JSON.stringify(wrong)} is not a host or host:port (${hint})`);
}

/**
 * Why a name does not count, and what to do about it. `names` are those that do; `otherUrl` is the public URL of a bus
 * that has a name of its own, and `dial` how to sign for it.
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
  const said = `signed for ${JSON.stringify(host)}`;
  const add = `add ${JSON.stringify(host)} to http.hosts if that is how this bus is reached`;
  if (isLoopback(hostname) && otherUrl !== null) return `${said}, but this bus is ${otherUrl} (${dial}, or ${add})`;
  if (isLoopback(hostname) || isPrivate(hostname)) {
    const whom = isLoopback(hostname) ? "from this machine itself, with the bus's own port" : "from a private address";
    return `${said}, which counts only ${whom} and without a proxy (${add})`;
  }
  const known = names.length === 0 ? "" : `, but this bus is ${names.join(", ")}`;
  return `${said}${known} (dial a name of this bus, or ${add})`;
}

/** The names of a site. `isCluster`: several nodes are one bus, and share names. Errors: invalid for `http.hosts`. */
export function hostNames(site: Site, isCluster = false): HostNames {
  checkHosts(site.hosts);
  const published = site.publicUrl === null ? null : new URL(site.publicUrl);
  const fixed = new Set([...(published === null ? [] : [published.host]), ...site.hosts]);
  // Someone who publishes another name is reached through it: then a loopback peer may be a proxy or a tunnel.
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
      const dial = `sign for it: --url ${site.publicUrl} --dial ${hostPort(loopbackNames[0] ?? "")}`;
      return `the request is ${refused(host, fixed.size > 0 ? [...fixed] : names, dial)}`;
    },
    isShared: (host) => fixed.has(host) || (isCluster && isLoopback(partsOf(host).hostname)),
    logins: loginNames,
    loginRefusal: (host, place, from) => {
      const names = loginNames(place, from);
      return `the login is ${refused(host, names, `sign for ${names[0] ?? "its public name"}`)}`;
    },
  };
}

/** The URL by which a client that dials the public address itself reaches NATS over WebSocket. */
function asWebSocket({ protocol, host }: URL): string {
  return `${protocol === "https:" ? "wss" : "ws"}://${host}`;
}
