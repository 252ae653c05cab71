/**
 * Remembers which bus the client commands use when the command line names none.
 *
 * `config.json` next to the identity holds the bus in use with its identity file, and every other bus that was joined
 * or used. `join` sets the bus in use only if there is none; `use` sets it at any time. The file holds no secret, and
 * only its owner can read it.
 */
import { mkdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { Type } from "@sinclair/typebox";
import { Check } from "@sinclair/typebox/value";
import { busUrl } from "../../client/transport/http.ts";
import { replaceFile } from "../../lib/atomic-file.ts";
import { withoutByteOrderMark } from "../../lib/text.ts";
import { listenDefaults } from "../../wire/address.ts";
import { UnibusError } from "../../wire/errors.ts";
import { defaultIdentityFile } from "./identity-file.ts";

/** The default address of a bus. */
export const urlDefault: string = `http://${listenDefaults.http}`;
/** How many buses are remembered. */
const knownMax = 100;

const Known = Type.Object({ bus: Type.String(), identity: Type.String() });
const Config = Type.Object({
  bus: Type.Optional(Type.String()),
  identity: Type.Optional(Type.String()),
  known: Type.Optional(Type.Array(Known)),
});

/** A bus and the identity that this user has there. */
export interface KnownBus {
  /** Its addresses, separated by commas. */
  readonly bus: string;
  /** An absolute path. */
  readonly identity: string;
}

/** The remembered buses. */
export interface Remembered {
  readonly inUse: KnownBus | null;
  /** Every bus that was joined or used, including the one in use. */
  readonly known: readonly KnownBus[];
}

/** The path of the file. */
export function configFile(): string {
  return join(dirname(defaultIdentityFile()), "config.json");
}

/** Parses a comma-separated list of a bus's addresses. Errors: invalid for a malformed address. */
export function urlsOf(list: string): string[] {
  const urls = list.split(",").map((url) => url.trim());
  return urls.filter(Boolean).map(busUrl);
}

/** Reads the remembered buses; none if there is no file. Errors: invalid for a damaged file. */
export function remembered(): Remembered {
  const file = configFile();
  let text: string;
  try {
    text = withoutByteOrderMark(readFileSync(file, "utf8"));
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as { code?: string }).code ?? "")) return { inUse: null, known: [] };
    throw new UnibusError("invalid", `${file} cannot be read (check its permissions)`, { cause: error });
  }
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch {
    // Reported below.
  }
  if (!Check(Config, config)) {
    throw new UnibusError("invalid", `${file} is damaged (remove it, then name your bus with unibus use URL)`);
  }
  const { bus, identity = defaultIdentityFile(), known = [] } = config;
  const inUse = bus === undefined ? null : { bus, identity };
  return { inUse, known: inUse === null ? known : withFirst(inUse, known) };
}

/** Puts an entry first, replacing an older one for the same bus. */
function withFirst(one: KnownBus, known: readonly KnownBus[]): KnownBus[] {
  return [one, ...known.filter(({ bus }) => bus !== one.bus)].slice(0, knownMax);
}

/** Remembers a bus; `uses` makes it the one in use. Errors: invalid if the file cannot be written. */
export function remember(one: KnownBus, { uses }: { readonly uses: boolean }): void {
  const { inUse, known } = remembered();
  const chosen = uses || inUse === null ? one : inUse;
  write({ ...chosen, known: withFirst(chosen, withFirst(one, known)) });
}

function write(config: unknown): void {
  const file = configFile();
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    replaceFile(file, `${JSON.stringify(config, null, 2)}\n`);
  } catch (error) {
    const code = String((error as { code?: unknown }).code);
    throw new UnibusError("invalid", `${file} cannot be written: ${code} (check its permissions)`, {
      cause: error,
    });
  }
}

/** The bus that a command acts on, and the identity. */
export interface Place {
  /** Its addresses, separated by commas. */
  readonly bus: string;
  readonly identity: string;
  /** Whether several buses are known, so that a command that changes something prints which one it uses. */
  readonly isOneOfSeveral: boolean;
}

/**
 * Resolves the bus and the identity file of a command: from the command line or the environment, else the remembered
 * ones, else the defaults.
 */
export function placeOf(named: { readonly url?: string | undefined; readonly identity?: string | undefined }): Place {
  const { inUse, known } = named.url && named.identity ? rememberedIfReadable() : remembered();
  const bus = named.url || inUse?.bus || urlDefault;
  const own = known.find((one) => one.bus === urlsOf(bus).join(",")) ?? inUse;
  const identity = named.identity || own?.identity || defaultIdentityFile();
  return { bus, identity, isOneOfSeveral: known.length > 1 };
}

/** Ignores a damaged file, for a command line that needs nothing from it. */
function rememberedIfReadable(): Remembered {
  try {
    return remembered();
  } catch {
    return { inUse: null, known: [] };
  }
}

/**
 * Normalizes a bus for the file: its addresses as URLs, and the identity as an absolute path.
 * Errors: invalid for a malformed address, or none.
 */
export function knownBus(bus: string, identity: string): KnownBus {
  const urls = urlsOf(bus);
  if (urls.length > 0) return { bus: urls.join(","), identity: resolve(identity) };
  const hint = "write it as in https://bus.example.org";
  throw new UnibusError("invalid", `${JSON.stringify(bus)} is not a server address (${hint})`);
}
