/**
 * Reports the progress of a boot. A boot that takes longer than a moment (a nats-server that restores
 * thousands of streams, a cluster whose other nodes are missing) answers GET /healthz and /readyz at the address of the
 * HTTP listener, and logs its progress. It closes the connection of every other request, so that a client turns to
 * another node as if nothing listened.
 */
import type { RequestListener, Server } from "node:http";
import type { Static } from "@sinclair/typebox";
import type { Log } from "../contracts/plugin.ts";
import { readTlsFiles } from "../contracts/tls.ts";
import type { Address } from "../wire/address.ts";
import type { HealthReport, ReadinessReport } from "../wire/api.ts";
import { routes } from "../wire/routes.ts";
import { type HttpConfig, isTls } from "./manifest.ts";

/** How long a boot lasts before it answers and logs, in milliseconds. */
const quietMs = 1_000;
/** How often it logs how far it is, in milliseconds. */
const logEveryMs = 5_000;

/** Where a boot answers, and what it knows by then. */
export interface StartingOptions extends Address {
  readonly config: HttpConfig;
  readonly version: string;
  readonly flags: Readonly<Record<string, boolean>>;
  readonly log: Log;
}

/** A boot under way. */
export class Starting implements AsyncDisposable {
  readonly #options: StartingOptions;
  readonly #begun = performance.now();
  readonly #timer: ReturnType<typeof setTimeout>;
  #plugin = "bus";
  #detail = "starting";
  #loggedAt = this.#begun;
  #logged = "";
  #server: Server | undefined;
  #isOver = false;

  constructor(options: StartingOptions) {
    this.#options = options;
    this.#timer = setTimeout(() => void this.#listen(), quietMs);
    this.#timer.unref();
  }

  /** Takes up what a plugin says of its setup. Safe to show. */
  note(plugin: string, detail = "starting"): void {
    // A plugin that starts something again later reports that by its health.
    if (this.#isOver) return;
    this.#plugin = plugin;
    this.#detail = detail;
    const now = performance.now();
    if (now - this.#begun < quietMs || now - this.#loggedAt < logEveryMs || detail === this.#logged) return;
    this.#loggedAt = now;
    this.#logged = detail;
    this.#options.log.info(`starting: ${plugin}: ${detail}`);
  }

  /** Gives the address up. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    clearTimeout(this.#timer);
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }

  /** A wrong address or TLS file is reported later, by the listener that replaces this one. */
  async #listen(): Promise<void> {
    const { config, hostname, port, log } = this.#options;
    const answer: RequestListener = ({ method, url = "", socket }, reply) => {
      const found = method === "GET" ? this.#reply(url.replace(/\?.*$/s, "")) : null;
      if (found === null) return void socket.destroy();
      reply.writeHead(found.status, { "content-type": "application/json;charset=utf-8", "cache-control": "no-store" });
      return void reply.end(JSON.stringify(found.body));
    };
    try {
      // Loaded here, because most boots are over by then.
      const [http, https] = await Promise.all([import("node:http"), import("node:https")]);
      if (this.#isOver) return;
      const server = isTls(config)
        ? https.createServer({ ...readTlsFiles(config.tls_cert, config.tls_key), minVersion: "TLSv1.2" }, answer)
        : http.createServer(answer);
      this.#server = server;
      server.on("error", (cause) => log.debug("no answers while the bus starts", { cause }));
      server.listen(port, hostname);
      server.unref();
    } catch (cause) {
      log.debug("no answers while the bus starts", { cause });
    }
  }

  #reply(path: string): { status: number; body: Static<typeof HealthReport> | ReadinessReport } | null {
    const { version, flags } = this.#options;
    if (path === routes.bus.healthz.path) return { status: 200, body: { status: "ok", version, posture: {}, flags } };
    if (path !== routes.bus.readyz.path) return null;
    return { status: 503, body: { ready: false, plugins: { [this.#plugin]: { ok: false, detail: this.#detail } } } };
  }
}
