/**
 * Reaches a bus at another address than its URL: for programs on the bus's own machine that cannot reach the public
 * URL. Connections go to the dialled address. Signatures and certificate names are still those of the URL, so this
 * accepts nothing that the public route would refuse.
 */
import { isLoopback, natsHost, parseAddress, urlHost } from "../../wire/address.ts";
import { UnibusError } from "../../wire/errors.ts";
import { codeOf } from "./fetch-fault.ts";

/** Timeout of the probe whether the address speaks TLS, in milliseconds. */
const probeTimeoutMs = 5_000;

/** Options of Bun's `fetch` beyond the standard. On other platforms the certificate must name the dialled address. */
interface TlsInit {
  readonly tls: { readonly serverName: string };
}

/** What replaces the URL's own origin in a request. */
export interface Route {
  readonly origin: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly init: Partial<TlsInit>;
}

const refused = (address: string, what: string, hint: string) =>
  new UnibusError("invalid", `${JSON.stringify(address)} ${what} (${hint})`);

/** A bus whose URL is dialled at another address. */
export class Detour {
  readonly #public: URL;
  readonly #hostname: string;
  readonly #port: number;
  readonly #scheme: string | null;
  #origin: Promise<string> | null = null;
  /** The host:port that logins are signed for, by the dialled URL of the data plane. */
  readonly #names = new Map<string, string>();

  /**
   * `address`: HOST:PORT, or an http or https URL of it. Without a scheme, that of `url` applies; a loopback address
   * may also speak plain HTTP, behind a proxy that terminates TLS. Errors: invalid, also for cleartext to another
   * machine.
   */
  constructor(
    url: string,
    readonly address: string,
  ) {
    this.#public = new URL(url);
    const [, scheme = null, rest = ""] = /^(?:(https?):\/\/)?([^/]+)\/?$/.exec(address.trim()) ?? [];
    const place = parseAddress(rest);
    if (place === null) throw refused(address, "is not an address to dial", "write it as in 127.0.0.1:8470");
    this.#hostname = place.hostname;
    this.#port = place.port;
    this.#scheme = scheme;
    if (scheme === "http" && this.#public.protocol === "https:" && !this.isLocal) {
      throw refused(address, `would be dialled without TLS, but ${url} uses TLS`, "dial an https:// address");
    }
  }

  /** Whether the dialled address is on this machine. */
  get isLocal(): boolean {
    return isLoopback(this.#hostname);
  }

  /** Where requests are sent. Errors: what the transport throws. */
  async route(): Promise<Route> {
    this.#origin ??= this.#findOrigin();
    this.#origin.catch(() => {
      this.#origin = null;
    });
    return this.#routeTo(await this.#origin);
  }

  /** Maps the data plane's advertised URLs to those that are dialled. Errors: those of `route`. */
  async dataUrls(urls: readonly string[]): Promise<string[]> {
    const { origin } = await this.route();
    return urls.map((url) => {
      const name = natsHost(url);
      const dialled = this.#pathBelow(url, origin) ?? this.#sameHost(url, name);
      this.#names.set(dialled, name);
      return dialled;
    });
  }

  /** Maps a WebSocket URL below the public URL to the origin that requests go to. Null for any other URL. */
  #pathBelow(url: string, origin: string): string | null {
    const { protocol, host, pathname } = new URL(url);
    const base = this.#public.pathname.replace(/\/$/, "");
    if (!/^wss?:$/.test(protocol) || host !== this.#public.host || !pathname.startsWith(`${base}/`)) return null;
    return `${origin.replace(/^http/, "ws")}${pathname.slice(base.length)}`;
  }

  /** Maps any other URL to the dialled machine, with its own port. */
  #sameHost(url: string, name: string): string {
    const { protocol, pathname } = new URL(url);
    const path = /^wss?:$/.test(protocol) && pathname !== "/" ? pathname : "";
    return `${protocol}//${urlHost(this.#hostname)}${name.slice(name.lastIndexOf(":"))}${path}`;
  }

  /** The host:port that a login at a dialled URL is signed for. */
  nameOf(url: string): string {
    return this.#names.get(url) ?? natsHost(url);
  }

  #routeTo(origin: string): Route {
    const { host, hostname } = this.#public;
    return {
      origin,
      headers: { host },
      init: origin.startsWith("https:") ? { tls: { serverName: hostname.replace(/^\[|\]$/g, "") } } : {},
    };
  }

  async #findOrigin(): Promise<string> {
    const at = (scheme: string) => `${scheme}://${urlHost(this.#hostname)}:${this.#port}`;
    if (this.#scheme !== null) return at(this.#scheme);
    if (this.#public.protocol === "http:") return at("http");
    const { origin, headers, init } = this.#routeTo(at("https"));
    try {
      const signal = AbortSignal.timeout(probeTimeoutMs);
      await (await fetch(`${origin}/healthz`, { headers, redirect: "manual", signal, ...init })).body?.cancel();
      return origin;
    } catch (error) {
      const isPlain = /EPROTO|ERR_SSL/.test(codeOf(error));
      if (isPlain && this.isLocal) return at("http");
      throw error;
    }
  }
}
