/** The program of a browser page: exposes to the test the parts of the client that `unibus/client` does not export. */
import { openState } from "#state";
import { MemoryState, type RoomPin } from "../../src/client/trust/state.ts";
import { computeVectors } from "../../src/client/vectors.ts";
import { isUnibusError } from "../../src/wire/errors.ts";

/** The result of a call on a client state: a value, or the code of its error. */
export type Given = { readonly value: unknown } | { readonly code: unknown };

/** One call on a client state: which state, and which method. */
export interface Use {
  /** The database's name; in memory if absent. */
  readonly folder?: string;
  readonly bus?: string;
  readonly call: "room" | "saveRoom" | "handle" | "pinHandle" | "repinHandle";
  readonly with: readonly [string, (string | RoomPin)?];
}

const memories = new Map<string, MemoryState>();

/** Calls a client state; each call opens it again, as another page would. */
async function use({ folder, bus = "https://bus.example.org", call, with: given }: Use): Promise<Given> {
  const memory = memories.get(bus) ?? new MemoryState();
  memories.set(bus, memory);
  const state = folder === undefined ? memory : openState({ folder, bus });
  const method = state[call] as (...given: unknown[]) => Promise<unknown>;
  try {
    return { value: (await method.apply(state, [...given])) ?? null };
  } catch (error) {
    return { code: isUnibusError(error) ? error.code : String(error) };
  }
}

/** Writes any value into a database, bypassing the client. */
function spoil(folder: string, store: string, key: IDBValidKey, value: unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(folder);
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const transaction = opening.result.transaction(store, "readwrite");
      transaction.objectStore(store).put(value, key);
      transaction.oncomplete = () => {
        opening.result.close();
        resolve();
      };
      transaction.onabort = () => reject(transaction.error);
    };
  });
}

/** What the page offers to the test. */
export const offered = {
  computeVectors,
  use,
  spoil,
  names: async () => (await indexedDB.databases()).map(({ name }) => name),
};

Object.assign(globalThis, { offered });
