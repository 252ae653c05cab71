import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import manifest from "../../plugins.json";
import { type Bus as Client, connect, generateIdentity } from "../client/index.ts";
import type { Log } from "../contracts/plugin.ts";
import { Users } from "../contracts/users.ts";
import { type Bus, boot } from "../kernel/boot.ts";
import type { Manifest } from "../kernel/manifest.ts";
import { builtins } from "../plugins/index.ts";
import { UnibusError } from "../wire/errors.ts";
import { version } from "./version.ts";

const freePort = "127.0.0.1:0";
const nothing = (): void => undefined;
/** The demo does not show the bus's log. Failures are thrown. */
const silent: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing };

async function temporaryFolder(): Promise<string> {
  try {
    return await mkdtemp(join(tmpdir(), "unibus-demo-"));
  } catch (cause) {
    const what = `cannot create a temporary folder in ${tmpdir()}: ${String((cause as { code?: unknown }).code)}`;
    throw new UnibusError("invalid", `${what} (set TMPDIR to another)`, { cause });
  }
}

/**
 * A complete bus in this process, in a temporary folder, with the embedded nats-server on free loopback ports. It
 * ignores the environment and the working directory. Disposing it stops the bus and removes the folder.
 */
export class DemoBus implements AsyncDisposable {
  private constructor(
    private readonly bus: Bus,
    private readonly release: AsyncDisposableStack,
  ) {}

  /** Starts a demo bus. Errors: those of boot. The signal aborts the start. */
  static async start(signal: AbortSignal): Promise<DemoBus> {
    await using release = new AsyncDisposableStack();
    const dataDir = await temporaryFolder();
    release.defer(() => rm(dataDir, { recursive: true, force: true }));
    const stopping = new AbortController();
    signal.addEventListener("abort", () => stopping.abort(signal.reason), { once: true });
    if (signal.aborted) stopping.abort(signal.reason);
    const binary = process.env.UNIBUS_NATS_SERVER;
    const nats = { listen: freePort, ws: freePort, ...(binary ? { binary } : {}) };
    const bus = await boot({
      ...{ manifest: manifest as Manifest, file: "built-in plugins.json", builtins, version, dataDir, stopping },
      overrides: { flags: {}, settings: { http: { listen: freePort }, "nats-embedded": nats } },
      environment: {},
      log: () => silent,
    });
    release.defer(() => bus.stop());
    return new DemoBus(bus, release.move());
  }

  /** The URL of the bus. */
  get url(): string {
    return this.bus.site.url();
  }

  /** Generates an identity, registers its public keys and connects. The connection is closed with the bus. */
  async join(handle: string, signal: AbortSignal): Promise<Client> {
    const identity = await generateIdentity();
    const { signPubHex: signPub, kexPubHex: kexPub, kexSig } = identity;
    const users = this.bus.service(Users);
    if (users === undefined) throw new UnibusError("internal", "the built-in plugins know no users (report this)");
    await users.add({ handle, role: "member", signPub, kexPub, kexSig });
    return this.release.use(await connect({ url: this.url, identity, state: "memory", signal }));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release.disposeAsync();
  }
}
