/**
 * The command `serve`: starts the server on a data directory and runs it until SIGTERM or SIGINT.
 * Order: lock the directory, check that its store is the one it was last served with, boot, write serving.json, wait
 * until every plugin is ready, offer the first admin's link if there is no admin, print the addresses, write
 * ready.json. SIGHUP reloads the TLS files. A second stop signal exits immediately.
 */
import { Option } from "commander";
import { Invites } from "../../contracts/invites.ts";
import { Nats } from "../../contracts/nats.ts";
import type { Log } from "../../contracts/plugin.ts";
import { type Bus, boot } from "../../kernel/boot.ts";
import { Mutex } from "../../lib/mutex.ts";
import { dialled, listenDefaults } from "../../wire/address.ts";
import { hasCode, UnibusError } from "../../wire/errors.ts";
import { joinLink } from "../../wire/names.ts";
import { CliCommand } from "../cli-command.ts";
import { type LogFormat, makeLog } from "../log.ts";
import { printFields, printText } from "../print.ts";
import {
  addedPlugins,
  type BusOptions,
  dataOption,
  flagOption,
  pluginOption,
  pluginsOption,
  setOption,
} from "../settings.ts";
import { version } from "../version.ts";
import { bootOptions } from "./bus.ts";
import { DirectoryLock, dataDirError, type ServerRecord } from "./data-dir.ts";
import { checkStore, noteServed, storeOf } from "./store-record.ts";

const addressOption = (flags: string, what: string, usual: string, variable: string): Option =>
  new Option(flags, `${what} (default: ${usual}; port 0: any free one)`).env(variable);

function recordOf({ site, service }: Bus): ServerRecord {
  const { publicUrl } = site;
  const { hostname, port, tls } = site.listener;
  const nats = service(Nats);
  const urls = nats?.urls();
  return {
    pid: process.pid,
    version,
    http: `${tls ? "https" : "http"}://${dialled({ hostname, port: port() })}`,
    nats: urls?.nats[0] ?? "",
    ws: urls?.ws[0] ?? "",
    nats_pid: nats?.pid() ?? null,
    ...(publicUrl === null ? {} : { public_url: publicUrl }),
  };
}

/** How long a store may take to answer after the start, in milliseconds. In a cluster it must first elect a leader. */
const storeWaitMs = 120_000;
const storeRetryMs = 250;
/** Polling interval for the readiness of a starting server, in milliseconds. */
const readyPollMs = 100;
/** How often a running server checks that its data directory is still there, in milliseconds. */
const goneLookMs = 1_000;

/** Retries until the store answers, and logs once why it does not. Errors: those of `ask`; unavailable on timeout. */
async function onceAnswered<T>(ask: () => Promise<T>, log: Log, signal: AbortSignal): Promise<T> {
  const end = performance.now() + storeWaitMs;
  for (let loggedReason = ""; ; ) {
    try {
      return await ask();
    } catch (error) {
      if (!hasCode(error, "unavailable") || signal.aborted || performance.now() > end) throw error;
      if (error.message !== loggedReason) log.warn(`waiting for the store: ${error.message}`, { cause: error.cause });
      loggedReason = error.message;
      await Bun.sleep(storeRetryMs);
    }
  }
}

/**
 * Offers a link that creates the first admin while there is no admin. On a terminal the link is printed; otherwise it
 * is stored in the data directory and the log names the file. The link itself is never logged.
 */
async function offerFirstAdmin({ service, site }: Bus, lock: DirectoryLock, log: Log): Promise<void> {
  const made = await service(Invites)?.firstAdmin();
  if (made == null) return lock.dropAdminLink();
  const link = joinLink(site.url(), made.token);
  if (process.stdout.isTTY) {
    lock.dropAdminLink();
    return printText(
      `\nThere is no admin yet. To become the first, run this within an hour:\n  unibus join ${link}\n\n`,
    );
  }
  const file = lock.keepAdminLink(link);
  log.info(`no admin yet: ${file} holds the link for the first (within an hour: unibus join - < ${file})`);
}

/**
 * Resolves when every plugin can do its work. Logs each reason for waiting once.
 * Errors: the signal's reason when it is aborted.
 */
async function untilReady(bus: Bus, log: Log, signal: AbortSignal): Promise<void> {
  let loggedReason = "";
  for (;;) {
    signal.throwIfAborted();
    const { ready, plugins } = await bus.readiness();
    if (ready) return;
    const reasons = Object.entries(plugins).flatMap(([name, { ok, detail = "cannot work" }]) =>
      ok ? [] : [`${name}: ${detail}`],
    );
    const reason = reasons.join("; ");
    if (reason !== loggedReason) log.warn(`not ready yet: ${reason}`);
    loggedReason = reason;
    await Bun.sleep(readyPollMs);
  }
}

/** Resolves at the first stop signal. A second one exits immediately. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    let asked = false;
    const ask = (): void => {
      if (asked) process.exit(1);
      asked = true;
      resolve();
    };
    process.on("SIGTERM", ask);
    process.on("SIGINT", ask);
  });
}

/** Reloads renewed TLS files. A file that cannot be read changes nothing. */
async function reload(bus: Bus, log: Log): Promise<void> {
  try {
    await bus.reload();
    log.info("reloaded the TLS files");
  } catch (error) {
    log.error("could not reload the TLS files: the old ones remain in use", { cause: error });
  }
}

/**
 * Rejects when the bus cannot go on: its data directory was removed or replaced, so that what it acknowledges from then
 * on would be lost. Errors: unavailable.
 */
function untilGone(lock: DirectoryLock, dataDir: string, signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const timer = setInterval(() => {
      if (!lock.isGone()) return;
      clearInterval(timer);
      const hint = "restore it from a backup, then start the server again";
      reject(new UnibusError("unavailable", `data directory ${dataDir} was removed or replaced (${hint})`));
    }, goneLookMs);
    signal.addEventListener("abort", () => clearInterval(timer), { once: true });
  });
}

async function serve(options: BusOptions & { log?: LogFormat }): Promise<void> {
  const stopAsked = stopSignal();
  const log = await makeLog(options.log);
  process.on("unhandledRejection", (cause) => log("kernel").error("unhandled promise rejection", { cause }));
  const stopping = new AbortController();
  let isStopAsked = false;
  void stopAsked.then(() => {
    isStopAsked = true;
    stopping.abort();
  });
  const setup = { ...bootOptions(options, log), stopping };
  const lock = new DirectoryLock(setup.dataDir);
  try {
    const store = await storeOf(setup);
    checkStore(setup.dataDir, store);
    const bus = await boot(setup);
    try {
      noteServed(setup.dataDir, store);
      const plugins = options.plugins === undefined ? null : setup.file;
      const added = addedPlugins(options);
      lock.announceServing(recordOf(bus), { flags: bus.site.flags, plugins, added, url: bus.site.url() });
      bus.service(Nats)?.onRestart?.(() => lock.update(recordOf(bus)));
      const reloads = new Mutex();
      process.on("SIGHUP", () => {
        void reloads.hold(() => reload(bus, log("kernel")));
      });
      await untilReady(bus, log("kernel"), stopping.signal);
      await onceAnswered(() => offerFirstAdmin(bus, lock, log("kernel")), log("kernel"), stopping.signal);
      const { http, nats, ws, public_url } = recordOf(bus);
      const reached = public_url === undefined ? {} : { public: public_url };
      printFields({ unibus: version, ...reached, http, nats, ws, data: bus.site.dataDir });
      lock.announceReady(recordOf(bus));
      await Promise.race([stopAsked, untilGone(lock, setup.dataDir, stopping.signal)]);
      log("kernel").info("stopping");
    } finally {
      lock.withdraw();
      await bus.stop();
    }
  } catch (error) {
    // Asked to stop while it was starting, so this is not an error.
    if (!isStopAsked) throw dataDirError(setup.dataDir, error);
  } finally {
    lock.release();
  }
}

/** The command `serve`. */
export function serveCommand(): CliCommand {
  const { http, nats, ws } = listenDefaults;
  return new CliCommand("serve", {
    summary: "start the server: signed HTTP, and NATS with the embedded nats-server",
    example: "unibus serve --data /var/lib/unibus --public-url https://bus.example.org",
  })
    .addOption(dataOption())
    .addOption(addressOption("--http <host:port>", "signed HTTP: users, rooms and history", http, "UNIBUS_HTTP"))
    .addOption(addressOption("--nats <host:port>", "NATS: messages", nats, "UNIBUS_NATS"))
    .addOption(addressOption("--ws <host:port>", "NATS over WebSocket", ws, "UNIBUS_WS"))
    .addOption(pluginsOption())
    .addOption(pluginOption())
    .addOption(flagOption())
    .addOption(setOption())
    .addOption(
      new Option("--public-url <url>", "the URL at which people reach this bus (default: the address of --http)").env(
        "UNIBUS_PUBLIC_URL",
      ),
    )
    .addOption(new Option("--tls-cert <file>", "a certificate chain, PEM (default: no TLS)").env("UNIBUS_TLS_CERT"))
    .addOption(new Option("--tls-key <file>", "the certificate's key, PEM (default: no TLS)").env("UNIBUS_TLS_KEY"))
    .addOption(
      new Option("--log <format>", "log lines (default: text on a terminal, else json)")
        .choices(["text", "json"])
        .env("UNIBUS_LOG"),
    )
    .action(serve);
}
