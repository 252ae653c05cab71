/**
 * Which bus the commands of a peer talk to when the command line does not say it.
 *
 * `config.json` beside the identity holds the bus in use and the identity file that goes with it, and every other bus
 * that was joined or used. `join` writes it once, `use` at any time. It holds no secret; only its owner may read it.
 */
import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { Type } from "@sinclair/typebox";
import { Check } from "@sinclair/typebox/value";
import { busUrl } from "../client/http.ts";
import { withoutByteOrderMark } from "../lib/text.ts";
import { UnibusError } from "../wire/errors.ts";
import { defaultIdentityFile } from "./identity-file.ts";

/** Where a bus is that was not moved. Source: spec 14. */
const urlDefault = "http://127.0.0.1:8470";
/** How many buses are remembered. */
const knownMax = 100;

const Known = Type.Object({ bus: Type.String(), identity: Type.String() });
const Config = Type.Object({
  bus: Type.Optional(Type.String()),
  identity: Type.Optional(Type.String()),
  known: Type.Optional(Type.Array(Known)),
});

/** A bus, and the identity by which this user is known there. */
export interface KnownBus {
  /** Its addresses, with commas between. */
  readonly bus: string;
  /** An absolute path. */
  readonly identity: string;
}

/** What is remembered: the bus in use first, or none. */
export interface Remembered {
  readonly inUse: KnownBus | null;
  /** Every bus that was joined or used, the one in use among them. */
  readonly known: readonly KnownBus[];
}

/** The file that remembers the bus. Source: spec 17. */
export function configFile(): string {
  return join(dirname(defaultIdentityFile()), "config.json");
}

/** The addresses of one bus in a list with commas. Errors: invalid for what is not an address. */
export function urlsOf(list: string): string[] {
  const urls = list.split(",").map((url) => url.trim());
  return urls.filter(Boolean).map(busUrl);
}

/** Reads what is remembered; nothing where there is no file. Errors: invalid for a file that is damaged. */
export function remembered(): Remembered {
  const file = configFile();
  let text: string;
  try {
    text = withoutByteOrderMark(readFileSync(file, "utf8"));
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as { code?: string }).code ?? "")) return { inUse: null, known: [] };
    throw new UnibusError("invalid", `${file} cannot be read (see that you may read it)`, { cause: error });
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

/** The list with one entry in front, in place of an older one of the same bus. */
function withFirst(one: KnownBus, known: readonly KnownBus[]): KnownBus[] {
  return [one, ...known.filter(({ bus }) => bus !== one.bus)].slice(0, knownMax);
}

/** Remembers a bus; `uses` makes it the one in use. Errors: invalid where the file cannot be written. */
export function remember(one: KnownBus, { uses }: { readonly uses: boolean }): void {
  const { inUse, known } = remembered();
  const chosen = uses || inUse === null ? one : inUse;
  write({ ...chosen, known: withFirst(chosen, withFirst(one, known)) });
}

function write(config: unknown): void {
  const file = configFile();
  const draft = `${file}.${randomUUID()}`;
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeFileSync(draft, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600, flag: "wx" });
    renameSync(draft, file);
  } catch (error) {
    rmSync(draft, { force: true });
    const code = String((error as { code?: unknown }).code);
    throw new UnibusError("invalid", `${file} cannot be written: ${code} (see that you may write it)`, {
      cause: error,
    });
  }
}

/** Which bus a command acts on, and as whom. */
export interface Place {
  /** Its addresses, with commas between. */
  readonly bus: string;
  readonly identity: string;
  /** Whether more than one bus is known, so that a command which changes something says which it was. */
  readonly isOneOfSeveral: boolean;
}

/**
 * The bus and the identity file of a command: what the command line or the environment names, else what is
 * remembered, else the defaults.
 */
export function placeOf(named: { readonly url?: string | undefined; readonly identity?: string | undefined }): Place {
  const { inUse, known } = named.url && named.identity ? rememberedIfReadable() : remembered();
  const bus = named.url || inUse?.bus || urlDefault;
  const own = known.find((one) => one.bus === urlsOf(bus).join(",")) ?? inUse;
  const identity = named.identity || own?.identity || defaultIdentityFile();
  return { bus, identity, isOneOfSeveral: known.length > 1 };
}

/** What is remembered, for a command line that needs none of it: a damaged file is not in its way. */
function rememberedIfReadable(): Remembered {
  try {
    return remembered();
  } catch {
    return { inUse: null, known: [] };
  }
}

/** A bus as it is remembered: its addresses as URLs, its identity's absolute path. */
export function knownBus(bus: string, identity: string): KnownBus {
  return { bus: urlsOf(bus).join(","), identity: resolve(identity) };
}
