/**
 * A way to a bus that is not its URL: for programs on the bus's own machine, which may not reach the public URL from
 * there. Connections go to the address that is dialled; signatures, and the names in certificates, are those of the
 * URL, so nothing is accepted that the public way would refuse.
 */
import { isLoopback, natsHost, parseAddress, urlHost } from "../wire/address.ts";
import { UnibusError } from "../wire/errors.ts";
import { codeOf } from "./fetch-fault.ts";

/** How long the address may take to show whether it speaks TLS, in milliseconds. */
const probeTimeoutMs = 5_000;

/** Options that Bun's `fetch` knows beside the standard. Elsewhere a certificate has to name the address itself. */
interface TlsInit {
  readonly tls: { readonly serverName: string };
}

/** What stands for the URL's own origin in a request. */
export interface Route {
  readonly origin: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly init: Partial<TlsInit>;
}

const refused = (address: string, what: string, hint: string) =>
  new UnibusError("invalid", `${JSON.stringify(address)} ${what} (${hint})`);

/** A bus at a URL that is dialled elsewhere. */
export class Detour {
  readonly #public: URL;
  readonly #hostname: string;
  readonly #port: number;
  readonly #scheme: string | null;
  #origin: Promise<string> | null = null;
  /** The host:port that is signed for, by the URL of the data plane that is dialled. */
  readonly #names = new Map<string, string>();

  /**
   * `address`: HOST:PORT, or an http or https URL of it. Without a scheme it is that of `url`; an address of loopback
   * may also speak plain HTTP behind a proxy that speaks TLS. Errors: invalid, also for cleartext beyond this machine.
   */
  constructor(
    url: string,
    readonly address: string,
  ) {
    this.#public = new URL(url);
    const [, scheme = null, rest = ""] = /^(?:(https?):\/\/)?([^/]+)\/?$/.exec(address.trim()) ?? [];
    const place = parseAddress(rest);
    if (place === null) throw refused(address, "is not an address to dial", "as in 127.0.0.1:8470");
    this.#hostname = place.hostname;
    this.#port = place.port;
    this.#scheme = scheme;
    if (scheme === "http" && this.#public.protocol === "https:" && !this.isLocal) {
      throw refused(address, `would be reached without TLS, and ${url} has it`, "dial an https:// address");
    }
  }

  /** Whether what is dialled never leaves this machine. */
  get isLocal(): boolean {
    return isLoopback(this.#hostname);
  }

  /** Where requests go. Errors: what the transport throws. */
  async route(): Promise<Route> {
    this.#origin ??= this.#findOrigin();
    this.#origin.catch(() => {
      this.#origin = null;
    });
    return this.#routeTo(await this.#origin);
  }

  /** Where the data plane is dialled that the bus says is at some URLs. Errors: those of `route`. */
  async dataUrls(urls: readonly string[]): Promise<string[]> {
    const { origin } = await this.route();
    return urls.map((url) => {
      const name = natsHost(url);
      const dialled = this.#pathBelow(url, origin) ?? this.#sameHost(url, name);
      this.#names.set(dialled, name);
      return dialled;
    });
  }

  /** A WebSocket below the public URL is the bus's own: it is dialled where requests go. Null for any other URL. */
  #pathBelow(url: string, origin: string): string | null {
    const { protocol, host, pathname } = new URL(url);
    const base = this.#public.pathname.replace(/\/$/, "");
    if (!/^wss?:$/.test(protocol) || host !== this.#public.host || !pathname.startsWith(`${base}/`)) return null;
    return `${origin.replace(/^http/, "ws")}${pathname.slice(base.length)}`;
  }

  /** Anything else listens on the same machine, with its own port. */
  #sameHost(url: string, name: string): string {
    const { protocol, pathname } = new URL(url);
    const path = /^wss?:$/.test(protocol) && pathname !== "/" ? pathname : "";
    return `${protocol}//${urlHost(this.#hostname)}${name.slice(name.lastIndexOf(":"))}${path}`;
  }

  /** The host:port for which a login at a dialled URL is signed. */
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
