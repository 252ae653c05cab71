/**
 * Boots a bus: select the plugins, load, order and check them, set them up, start them, listen. `stop` releases
 * everything in reverse order.
 * Each plugin step has a time budget, so a plugin that hangs is named in the error. A boot that fails or is aborted
 * releases whatever it has acquired before it throws. `unibus serve` calls `boot`; host commands that need only some
 * services (backup, doctor, user) call `bootServices`.
 */
import { Auth } from "../contracts/auth.ts";
import { inRenewedTime } from "../contracts/deadline.ts";
import { liveFault } from "../contracts/declaration.ts";
import { HealthWatch } from "../contracts/health-watch.ts";
import { openApiRoute } from "../contracts/openapi.ts";
import type { Live, Log, Plugin, Site, Token, Tokens } from "../contracts/plugin.ts";
import { StoreReserve } from "../contracts/reserve.ts";
import { type RouteGroup, upgradeOf } from "../contracts/route-table.ts";
import { type Address, baseUrl, dialled, isLoopback, listenDefaults, parseAddress, urlHost } from "../wire/address.ts";
import type { ReadinessReport } from "../wire/api.ts";
import { isUnibusError, UnibusError } from "../wire/errors.ts";
import { type Builtins, loadPlugin } from "./external.ts";
import { healthRoutes, type Running, readiness } from "./health.ts";
import type { Listener } from "./http.ts";
import { checkAddress } from "./http-port.ts";
import { checked, HttpConfig, isTls, type Manifest, type Overrides, refusal, withEnvironment } from "./manifest.ts";
import { type Chosen, checkRoutes, closure, flagsInForce, inOrder, routesOf, rowsInForce } from "./plan.ts";
import { Starting } from "./starting.ts";

/** Default time budget for each of loading, setting up and starting one plugin, in milliseconds. */
const setupBudgetMs = 30_000;
/** Timeout for one release callback, in milliseconds. */
const releaseBudgetMs = 10_000;

/** The inputs of a boot: manifest, overrides, environment, built-in plugins and logs. */
export interface BootOptions {
  readonly manifest: Manifest;
  /** Path of the manifest file. Error messages quote it, and relative paths in the manifest resolve against it. */
  readonly file: string;
  readonly overrides: Overrides;
  readonly builtins: Builtins;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  readonly dataDir: string;
  /** Returns the log of a plugin or of the kernel. */
  readonly log: (name: string) => Log;
  readonly now?: () => number;
  readonly setupBudgetMs?: number;
  /** Aborting it from outside ends a boot that is still waiting; everything acquired so far is released. */
  readonly stopping?: AbortController;
}

/** The result of planning: the plugins to set up, in order, each with its checked configuration. */
export interface Plan {
  readonly flags: Readonly<Record<string, boolean>>;
  readonly http: HttpConfig;
  readonly plugins: readonly (Chosen & { readonly config: Record<string, unknown> })[];
  /** The declared routes of the bus and of each plugin. */
  readonly routes: readonly RouteGroup[];
}

/** A running bus that accepts requests. */
export interface Bus {
  readonly site: Site;
  /** Returns the service behind a token, or undefined if no plugin provides it. */
  service<T>(token: Token<T>): T | undefined;
  /** Reports whether every plugin can do its work now. /readyz returns the same report. */
  readiness(): Promise<ReadinessReport>;
  /** Reloads the TLS files. Errors: invalid; the old files then stay in use. */
  reload(): Promise<void>;
  /** Refuses new requests, finishes those in flight, then releases everything in reverse order. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Selects, loads, orders and checks the plugins without setting any up. Errors: invalid, naming file, plugin and fix.
 */
export async function planBus(options: BootOptions): Promise<Plan> {
  const { manifest, file, overrides, builtins } = options;
  const flags = flagsInForce(manifest, overrides, file);
  const chosen: Chosen[] = [];
  for (const row of rowsInForce(manifest, flags)) {
    const load = () => loadPlugin(row, { builtins, file, requirePins: manifest.require_pins ?? false });
    chosen.push({ row, plugin: await within(load, options.setupBudgetMs, row.use, "loading") });
  }
  const names = chosen.map(({ plugin }) => plugin.name);
  for (const name of Object.keys(overrides.settings)) {
    if (name !== "http" && !names.includes(name)) {
      throw refusal("--set", `no active plugin ${name}`, `choose one of http, ${names.join(", ")}`);
    }
  }
  const configured = (name: string, given: unknown): Record<string, unknown> =>
    withEnvironment({ ...(given as object), ...overrides.settings[name] }, options.environment, `${file}, ${name}`);
  const plugins = inOrder(chosen, file).map(({ row, plugin }) => {
    const config = configured(plugin.name, row.config ?? {});
    return { row, plugin, config: checked(plugin.config, config, `${file}, plugin ${plugin.name}`) as typeof config };
  });
  const http = checked(HttpConfig, configured("http", manifest.http ?? {}), `${file}, http`);
  return { flags, http, plugins, routes: routesOf(plugins, file) };
}

/** What differs between a bus that will listen and one for a command on the host. */
interface Assembly {
  /** The bound port, or the configured one before the bus listens. */
  readonly port?: () => number;
  /** The plugins that are set up, where that is not all of the plan. */
  readonly some?: Plan["plugins"];
  /** Receives the progress of the boot. */
  readonly starting?: Starting;
}

/** Sets up the plugins of a plan, in order. Errors: those of a setup; everything acquired is released first. */
async function assemble(options: BootOptions, plan: Plan, address: Address, assembly: Assembly = {}) {
  const { port = () => address.port, some = plan.plugins, starting } = assembly;
  const stopping = options.stopping ?? new AbortController();
  const release = new AsyncDisposableStack();
  const site = siteOf(options, plan, address, port);
  const services = new Map<string, unknown>();
  const running: Running[] = [];
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopping.abort();
    stopped ??= release.disposeAsync();
    return stopped;
  };
  try {
    for (const { plugin, config } of some) {
      const free = (act: () => unknown) => letGo(act, plugin.name, options.log("kernel"));
      // A resource that a setup acquires after its budget, once everything is released, is released immediately.
      const onStop = (act: () => unknown) => (release.disposed ? void free(act) : release.defer(() => free(act)));
      const { signal } = stopping;
      signal.throwIfAborted();
      const context = { config, site, log: options.log(plugin.name), now: options.now ?? Date.now, signal, onStop };
      const setup = (renew: () => void) => {
        const progress = (detail: string): void => {
          renew();
          starting?.note(plugin.name, detail);
        };
        return plugin.setup({ ...context, progress }, served(plugin, services));
      };
      starting?.note(plugin.name);
      const live = await within(setup, options.setupBudgetMs ?? plugin.setupBudgetMs, plugin.name, "in setup");
      const fault = liveFault(live, plugin.routes);
      if (fault !== null) throw refusal(options.file, `plugin ${plugin.name}: ${fault.what}`, fault.hint);
      provide(plugin, live, services, options.file);
      running.push({ name: plugin.name, live });
    }
  } catch (error) {
    await stop();
    throw error;
  }
  const service = <T>(token: Token<T>) => services.get(token.id) as T | undefined;
  const watch = new HealthWatch(() => readiness(running, site.dataDir), options.log("kernel"));
  const bus: Bus = { site, service, stop, readiness: () => watch.look(), reload: async () => undefined };
  return { bus, running, release, watch };
}

/** Sets up only the plugins that the tokens need, for a command on the host. Nothing starts or listens. */
export async function bootServices(options: BootOptions, tokens: readonly Token<unknown>[]): Promise<Bus> {
  const plan = await planBus(options);
  const assembly = { port: () => 0, some: closure(plan.plugins, tokens) };
  return (await assemble(options, plan, listenAddress(plan.http.listen), assembly)).bus;
}

/** Boots a bus. Errors: those of a plugin; everything acquired is released before the error is thrown. */
export async function boot(options: BootOptions): Promise<Bus> {
  const plan = await planBus(options);
  const now = options.now ?? Date.now;
  const log = options.log("kernel");
  const address = listenAddress(plan.http.listen);
  checkExposure(plan.http, address);
  checkAddress(address);
  // Loaded here, because commands on the host do not listen.
  const { listen } = await import("./http.ts");
  let listener: Listener | undefined;
  const { version } = options;
  await using starting = new Starting({ ...address, config: plan.http, version, flags: plan.flags, log });
  const port = () => listener?.port ?? address.port;
  const { bus, running, release, watch } = await assemble(options, plan, address, { port, starting });
  try {
    const routes = [
      ...healthRoutes(bus.site, running, watch, now),
      openApiRoute(plan.routes, bus.site.version),
      ...running.flatMap(({ live }) => live.routes ?? []),
    ];
    const auth = bus.service(Auth);
    const sockets = running.flatMap(({ live }) => live.sockets ?? []);
    const upgrades = running.map(({ name, live }) => ({ plugin: name, routes: (live.sockets ?? []).map(upgradeOf) }));
    checkRoutes([...plan.routes, ...upgrades], true, options.file);
    for (const { name, live } of running) {
      starting.note(name);
      await within(() => live.start?.(), options.setupBudgetMs, name, "starting");
    }
    const ownOrigins = () => pageOrigins(bus.site);
    const reserve = bus.service(StoreReserve);
    await starting[Symbol.asyncDispose]();
    listener = listen({ config: plan.http, ...address, routes, sockets, ownOrigins, auth, reserve, log, now });
    const { stop } = listener;
    release.defer(() => letGo(stop, "http", log));
    watch.start();
    release.defer(() => watch.stop());
    return { ...bus, reload: listener.reload };
  } catch (error) {
    await bus.stop();
    throw error;
  }
}

function siteOf(options: BootOptions, plan: Plan, address: Address, port: () => number): Site {
  const { public_url = null } = plan.http;
  const publicUrl = public_url === null ? null : baseUrl(public_url);
  if (public_url !== null && publicUrl === null) {
    throw refusal(
      "http.public_url",
      `${public_url} is not an http or https URL`,
      "for example https://bus.example.org",
    );
  }
  return {
    version: options.version,
    dataDir: options.dataDir,
    flags: plan.flags,
    publicUrl,
    url: () => publicUrl ?? `${isTls(plan.http) ? "https" : "http"}://${dialled({ ...address, port: port() })}`,
    hosts: (plan.http.hosts ?? []).map((host) => host.toLowerCase()),
    facts: Object.assign({}, ...plan.plugins.map(({ plugin, config }) => plugin.facts?.(config) ?? {})),
    listener: {
      hostname: address.hostname,
      port,
      tls: isTls(plan.http),
      isPublic: !isLoopback(address.hostname),
      allowCleartext: plan.http.allow_cleartext === true || (plan.http.trusted_proxies ?? []).length > 0,
    },
  };
}

/** Origins of the bus's own pages: that of `public_url`, or those under which this machine reaches the listener. */
function pageOrigins({ publicUrl, listener }: Site): string[] {
  if (publicUrl !== null) return [new URL(publicUrl).origin];
  const scheme = listener.tls ? "https" : "http";
  const names = new Set(["127.0.0.1", "localhost", "[::1]", urlHost(listener.hostname)]);
  return [...names].map((name) => new URL(`${scheme}://${name}:${listener.port()}`).origin);
}

function listenAddress(text: string = listenDefaults.http): Address {
  const address = parseAddress(text);
  if (address === null)
    throw refusal("http.listen", `${text} is not an address`, "for example 127.0.0.1:8470 or [::1]:8470");
  return address;
}

/** Refuses a public address without TLS: anyone on the network path could read every reply, key and membership. */
function checkExposure(http: HttpConfig, { hostname }: Address): void {
  if (isLoopback(hostname) || isTls(http) || http.allow_cleartext || (http.trusted_proxies ?? []).length > 0) return;
  const hint = "set --tls-cert and --tls-key, or http.trusted_proxies, or http.allow_cleartext";
  throw refusal(`http.listen ${hostname}`, "a public address needs TLS", hint);
}

function served(plugin: Plugin, services: ReadonlyMap<string, unknown>): Record<string, never> {
  const wanted = Object.entries({ ...plugin.requires, ...plugin.optional } as Tokens);
  const found = wanted.filter(([, token]) => services.has(token.id));
  return Object.fromEntries(found.map(([name, token]) => [name, services.get(token.id) as never]));
}

function provide(plugin: Plugin, live: Live<Tokens>, services: Map<string, unknown>, file: string): void {
  const provides = plugin.provides ?? {};
  const given = live.services as Readonly<Record<string, unknown>>;
  for (const [name, token] of Object.entries(provides)) {
    if (given[name] === undefined) {
      throw refusal(file, `plugin ${plugin.name} declares ${token.id} but setup did not return it`, "return it");
    }
    services.set(token.id, given[name]);
  }
  const extra = Object.keys(given).find((name) => !Object.hasOwn(provides, name));
  if (extra !== undefined) {
    throw refusal(file, `plugin ${plugin.name} returns ${extra}, which it does not declare`, "add it to provides");
  }
}

/** Runs one plugin step within its budget. The error names the plugin, whether the step hung or failed. */
function within<T>(
  work: (renew: () => void) => T | Promise<T>,
  ms = setupBudgetMs,
  name: string,
  doing: string,
): Promise<T> {
  const late = () => new UnibusError("unavailable", `plugin ${name} took more than ${ms} ms ${doing} (see its log)`);
  return inRenewedTime((renew) => Promise.try(() => work(renew)), ms, late).catch((error: unknown) => {
    if (isUnibusError(error)) throw error;
    const message = `plugin ${name} failed ${doing}: ${(error as Error | null)?.message ?? error} (see its log)`;
    throw new UnibusError("internal", message, { cause: error });
  });
}

/** Runs one release callback. A failure is logged and does not keep the other callbacks from running. */
async function letGo(act: () => unknown, name: string, log: Log): Promise<void> {
  try {
    await within(act, releaseBudgetMs, name, "stopping");
  } catch (error) {
    log.error(`${name} did not stop cleanly`, { cause: error });
  }
}
