/**
 * Test kit for the kernel: boots a bus from a test's own plugins, in this process, on a free loopback port. Provides
 * stand-in plugins (routes, tokens, auth), a recording log, temporary files, and a raw TCP client for HTTP.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TObject, Type } from "@sinclair/typebox";
import { Auth } from "../../src/contracts/auth.ts";
import { definePlugin, type Live, type Log, type Route, type Tokens } from "../../src/contracts/plugin.ts";
import { type BootOptions, type Bus, boot } from "../../src/kernel/boot.ts";
import type { HttpConfig, Overrides, Row } from "../../src/kernel/manifest.ts";
import { hasCode, type UnibusError } from "../../src/wire/errors.ts";

/** One line of a bus's log. */
export interface Line {
  readonly level: keyof Log;
  readonly plugin: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A log that records its lines. */
export function recorder(): { readonly lines: Line[]; readonly log: (name: string) => Log } {
  const lines: Line[] = [];
  const log = (plugin: string): Log => {
    const at =
      (level: keyof Log) =>
      (message: string, fields: Record<string, unknown> = {}) => {
        lines.push({ level, plugin, message, fields });
      };
    return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
  };
  return { lines, log };
}

/** What a test changes about a boot. */
export interface Changes {
  readonly rows?: readonly Row[];
  readonly flags?: Readonly<Record<string, boolean>>;
  readonly http?: HttpConfig;
  readonly overrides?: Partial<Overrides>;
  readonly file?: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly requirePins?: boolean;
  readonly setupBudgetMs?: number;
  readonly now?: () => number;
  readonly log?: (name: string) => Log;
}

/** Boot options with plugins that replace the built-in ones. All are in the plan unless `rows` selects some. */
export function optionsOf(plugins: readonly { readonly name: string }[], changes: Changes = {}): BootOptions {
  const { rows, flags, http, overrides, requirePins, setupBudgetMs, now } = changes;
  return {
    manifest: {
      plugins: [...(rows ?? plugins.map(({ name }) => ({ use: name })))],
      http: { listen: "127.0.0.1:0", ...http },
      ...(flags === undefined ? {} : { flags }),
      ...(requirePins === undefined ? {} : { require_pins: requirePins }),
    },
    file: changes.file ?? "test.json",
    overrides: { flags: {}, settings: {}, ...overrides },
    builtins: Object.fromEntries(plugins.map((plugin) => [plugin.name, async () => ({ default: plugin })])),
    environment: changes.environment ?? {},
    version: "0.0.0",
    dataDir: "none",
    log: changes.log ?? recorder().log,
    ...(setupBudgetMs === undefined ? {} : { setupBudgetMs }),
    ...(now === undefined ? {} : { now }),
  };
}

/** A running bus. Disposing it stops the bus. */
export interface Serving extends AsyncDisposable {
  readonly bus: Bus;
  readonly port: number;
  readonly url: string;
  readonly lines: Line[];
}

/** Boots a bus. */
export async function serving(plugins: readonly { readonly name: string }[], changes: Changes = {}): Promise<Serving> {
  const { lines, log } = recorder();
  const bus = await boot(optionsOf(plugins, { log, ...changes }));
  const port = bus.site.listener.port();
  return { bus, port, url: `http://127.0.0.1:${port}`, lines, [Symbol.asyncDispose]: () => bus.stop() };
}

type Given = Live<Record<never, never>>;

/** A plugin that only answers routes. */
export function answering(name: string, ...routes: readonly Route[]) {
  return definePlugin({
    name,
    api: 1,
    config: Type.Object({}),
    routes: routes.map(({ spec }) => spec),
    setup: async (): Promise<Given> => ({ services: {}, routes }),
  });
}

/** A plugin with tokens; the service under each token is its own name. */
export function providing(
  name: string,
  tokens: { readonly provides?: Tokens; readonly requires?: Tokens; readonly optional?: Tokens },
  setup: () => void = () => undefined,
) {
  return definePlugin<TObject, Tokens, Tokens, Tokens>({
    name,
    api: 1,
    config: Type.Object({}, { additionalProperties: false }),
    ...tokens,
    async setup() {
      setup();
      return { services: Object.fromEntries(Object.keys(tokens.provides ?? {}).map((key) => [key, name as never])) };
    },
  });
}

/** Auth for tests: the header `x-caller` names the caller, and `x-caller: root` is an admin. Counts its calls. */
export function nameAuth(options: { readonly signed?: boolean } = {}) {
  const asked: string[] = [];
  const plugin = definePlugin({
    name: "name-auth",
    api: 1,
    config: Type.Object({}),
    provides: { auth: Auth },
    async setup() {
      const auth: Auth = {
        mode: "enforce",
        async identify({ target, header }) {
          asked.push(target);
          const who = header("x-caller");
          const role = who === "root" ? "admin" : "member";
          const keys = { signPub: "00", endpoint: "E", kexPub: null, kexSig: null };
          const caller = who === null ? null : { ...keys, handle: who, role: role as "admin" | "member" };
          return { caller, signed: options.signed ?? true, bodyHash: header("x-hash") };
        },
        login: async () => ({ caller: null, why: "this test server has no logins" }),
      };
      return { services: { auth } };
    },
  });
  return { plugin, asked };
}

/** The refusal of some work. Fails if the work succeeds. */
export async function refusalOf(work: () => unknown): Promise<UnibusError> {
  try {
    await work();
  } catch (error) {
    if (hasCode(error, "invalid")) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

/** Files in a temporary folder. Disposing it removes the folder. */
export class Files implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "unibus-kernel-"));

  /** Writes a file and returns its path. */
  write(name: string, text: string): string {
    const file = join(this.path, name);
    writeFileSync(file, text);
    return file;
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** A reply, parsed from its bytes. */
export interface RawAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
}

/** A body with its end offset, or null while it is incomplete. */
type Found = { readonly body: string; readonly end: number } | null;

function declared(text: string, start: number, length: number): Found {
  const body = text.slice(start, start + length);
  return body.length < length ? null : { body, end: start + length };
}

function unchunked(text: string, start: number): Found {
  let body = "";
  for (let at = start; ; ) {
    const line = text.indexOf("\r\n", at);
    const size = Number.parseInt(text.slice(at, line), 16);
    const end = line + 2 + size + 2;
    if (line === -1 || text.length < end) return null;
    if (size === 0) return { body, end };
    body += text.slice(line + 2, line + 2 + size);
    at = end;
  }
}

/** A TCP connection on which a test can write what no HTTP client would. */
export class Wire implements Disposable {
  readonly #socket;
  /** Resolves when the other side has closed the connection. */
  readonly closed: Promise<void>;
  #text = "";
  #seen: () => void = () => undefined;
  #ended = false;

  constructor(port: number) {
    this.#socket = connect({ host: "127.0.0.1", port });
    this.#socket.setEncoding("latin1");
    this.#socket.on("data", (text) => {
      this.#text += text;
      this.#seen();
    });
    // Some tests expect the other side to close the connection while we write.
    this.#socket.on("error", () => undefined);
    this.closed = new Promise((resolve) => {
      this.#socket.on("close", () => {
        this.#ended = true;
        this.#seen();
        resolve();
      });
    });
  }

  /** Writes text, one byte per character. Resolves when it was sent or the connection is closed. */
  write(text: string): Promise<void> {
    return new Promise((resolve) => this.#socket.write(text, "latin1", () => resolve()));
  }

  /** The next complete reply. */
  async answer(): Promise<RawAnswer> {
    for (;;) {
      const found = this.#take();
      if (found !== null) return found;
      if (this.#ended) throw new Error(`the connection ended after: ${JSON.stringify(this.#text)}`);
      await new Promise<void>((resolve) => {
        this.#seen = resolve;
      });
    }
  }

  #take(): RawAnswer | null {
    const end = this.#text.indexOf("\r\n\r\n");
    if (end === -1) return null;
    const [first = "", ...lines] = this.#text.slice(0, end).split("\r\n");
    const headers = new Headers(
      lines.map((line): [string, string] => [line.split(": ")[0] ?? "", line.split(": ")[1] ?? ""]),
    );
    const found =
      headers.get("transfer-encoding") === "chunked"
        ? unchunked(this.#text, end + 4)
        : declared(this.#text, end + 4, Number(headers.get("content-length") ?? 0));
    if (found === null) return null;
    this.#text = this.#text.slice(found.end);
    return { status: Number(first.split(" ")[1]), headers, body: found.body };
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}

/** Sends one request verbatim and returns its reply. */
export async function raw(port: number, text: string): Promise<RawAnswer> {
  using wire = new Wire(port);
  await wire.write(text);
  return await wire.answer();
}
