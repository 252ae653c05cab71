import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Plugin } from "../../contracts/plugin.ts";
import { RoomStore } from "../../contracts/store.ts";
import { type BootOptions, planBus } from "../../kernel/boot.ts";
import { replaceFile } from "../../lib/atomic-file.ts";
import { UnibusError } from "../../wire/errors.ts";

/**
 * Records which store a data directory is served with. The messages of its rooms are in streams that every store finds
 * there, so a store that does not know the rooms would remove them, and an outdated store would not know who was
 * removed since. A directory may therefore be served with another store only after a migration copied the rows to it.
 */
interface StoreRecord {
  /** The store with which the directory was last served: the fact `store` of its plugin, or the plugin's name. */
  readonly served: string;
  /** Stores to which the rows were migrated since then. */
  readonly brought: readonly string[];
}

const fileOf = (folder: string): string => join(folder, "store.json");

function read(folder: string): StoreRecord | null {
  const file = fileOf(folder);
  if (!existsSync(file)) return null;
  try {
    return JSON.parse(readFileSync(file, "utf8")) as StoreRecord;
  } catch (cause) {
    const hint = "remove it if the plan names the store with which the directory was last served";
    throw new UnibusError("invalid", `${file} is damaged (${hint})`, { cause });
  }
}

function write(folder: string, record: StoreRecord): void {
  replaceFile(fileOf(folder), `${JSON.stringify(record)}\n`);
}

/** The name of the store in a setup, or null if there is none. */
export async function storeOf(setup: BootOptions): Promise<string | null> {
  const { plugins } = await planBus(setup);
  const isStore = ({ provides }: Plugin) => Object.values(provides ?? {}).some(({ id }) => id === RoomStore.id);
  const chosen = plugins.find(({ plugin }) => isStore(plugin));
  return chosen === undefined ? null : (chosen.plugin.facts?.(chosen.config).store ?? chosen.plugin.name);
}

/** Checks that a directory may be served with a store. Errors: conflict if its rows were not migrated there. */
export function checkStore(folder: string, store: string | null): void {
  const record = read(folder);
  if (record === null || store === null) return;
  if (store === record.served || record.brought.includes(store)) return;
  throw new UnibusError(
    "conflict",
    `data directory ${folder} was last served with the store ${record.served}, and ${store} does not have its users ` +
      "and rooms, so the rooms' messages would be removed (copy them with migrate-to-kv or migrate-to-sqlite; or " +
      `choose another directory with --data; or, to give up the old data, remove ${fileOf(folder)})`,
  );
}

/** Records that a directory is served with a store, which changes from now on. */
export function noteServed(folder: string, store: string | null): void {
  if (store !== null) write(folder, { served: store, brought: [] });
}

/** Records that a migration copied all rows from one store of a directory to another. */
export function noteBrought(folder: string, from: string | null, to: string | null): void {
  const record = read(folder);
  if (record === null || to === null || from !== record.served || record.brought.includes(to)) return;
  write(folder, { ...record, brought: [...record.brought, to] });
}
