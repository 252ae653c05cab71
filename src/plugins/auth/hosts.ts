import { networkInterfaces } from "node:os";
import type { Site } from "../../contracts/plugin.ts";
import { isLoopback, parseAddress, urlHost } from "../../wire/address.ts";

/** The names by which signatures may call this bus, so that none is good at another. Source: spec 5. */
export interface HostNames {
  /** Whether a request may be signed for this host[:port]. */
  accepts(host: string): boolean;
  /** Whether other nodes of this bus may accept it, too. */
  isShared(host: string): boolean;
  /** The hosts for which a NATS login may be signed: no port, IPv6 in brackets. */
  logins(): readonly string[];
}

const everywhere = new Set(["0.0.0.0", "::"]);

/** The addresses at which a listener is bound, in the form of a URL's host. */
function boundHosts({ hostname }: Site["listener"]): string[] {
  if (!everywhere.has(hostname)) return [urlHost(hostname.toLowerCase())];
  return Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => urlHost(address)));
}

/** The names that every machine has for itself. */
const loopbackNames: readonly string[] = ["127.0.0.1", "localhost", "[::1]"];

/** A host and its port; null where it names none. */
function partsOf(host: string): { readonly hostname: string; readonly port: number | null } {
  return parseAddress(host) ?? { hostname: host.replace(/^\[|\]$/g, ""), port: null };
}

/** A host[:port] without its port. */
function withoutPort(host: string): string {
  return host.replace(/:\d+$/, "");
}

/**
 * The accepted names of a site: loopback, `public_url`, the bound addresses, the setting `hosts`. Loopback goes with
 * any port, but in a cluster only with its own: nodes of one machine differ in nothing else. Nodes of several machines
 * mostly have one port, so that a name of loopback is one that they share.
 */
export function hostNames(site: Site, isCluster = false): HostNames {
  const published = site.publicUrl === null ? [] : [new URL(site.publicUrl).host];
  const fixed = new Set([...published, ...site.hosts]);
  const bound = boundHosts(site.listener);
  return {
    accepts(host) {
      if (fixed.has(host)) return true;
      const { hostname, port } = partsOf(host);
      if (!isCluster && isLoopback(hostname)) return true;
      const name = urlHost(hostname);
      return port === site.listener.port() && (loopbackNames.includes(name) || bound.includes(name));
    },
    isShared: (host) => fixed.has(host) || (isCluster && isLoopback(partsOf(host).hostname)),
    logins: () => [...new Set([...loopbackNames, ...[...fixed].map(withoutPort), ...bound])],
  };
}
