/**
 * The client's state in IndexedDB. Imported as `#state` in a browser.
 *
 * One database for each identity, with an object store for rooms, handles and notes. Each change is one transaction, so
 * that tabs of one origin can share it. `state.ts` has the interface and its rules.
 */
import { isUnibusError } from "../../wire/errors.ts";
import { databaseError, openDatabase } from "../indexed-db.ts";
import {
  type ClientState,
  corruptState,
  type HandlePin,
  laterPin,
  pinOf,
  type RoomNote,
  type RoomPin,
  type StatePlace,
} from "./state.ts";

const stores = { rooms: "rooms", handles: "handles", notes: "notes" } as const;
/** Increased when `stores` gets a new entry. */
const databaseVersion = 2;

type Store = keyof typeof stores;

/**
 * Rooms by id, handles by bus and handle, notes by room and name. Each change is one transaction, so that no other page
 * can write between its read and its write.
 */
class DatabaseState implements ClientState {
  #database: Promise<IDBDatabase> | null = null;

  constructor(private readonly place: StatePlace) {}

  room(roomId: string): Promise<RoomPin | null> {
    return this.#change("rooms", roomId, (kept) => ({ answer: this.#pin(roomId, kept) }));
  }

  saveRoom(roomId: string, pin: RoomPin): Promise<RoomPin> {
    return this.#change("rooms", roomId, (kept) => {
      const holds = laterPin(roomId, this.#pin(roomId, kept), pin);
      return { answer: holds, put: holds };
    });
  }

  async returnRoom(roomId: string, pin: RoomPin): Promise<void> {
    await this.#change("rooms", roomId, () => ({ answer: null, put: pin }));
  }

  async rooms(): Promise<string[]> {
    const database = await this.#open();
    return new Promise((resolve, reject) => {
      const transaction = database.transaction(stores.rooms, "readonly");
      const read = transaction.objectStore(stores.rooms).getAllKeys();
      transaction.oncomplete = () => resolve(read.result.map(String));
      transaction.onabort = () => reject(databaseError(transaction.error));
    });
  }

  handle(handle: string): Promise<string | null> {
    return this.#change("handles", this.#handleKey(handle), (kept) => ({ answer: this.#endpoint(handle, kept) }));
  }

  pinHandle(handle: string, endpoint: string): Promise<string> {
    return this.#change("handles", this.#handleKey(handle), (kept) => {
      const first = this.#endpoint(handle, kept) ?? endpoint;
      return { answer: first, put: first };
    });
  }

  async repinHandle(handle: string, endpoint: string): Promise<void> {
    await this.#change("handles", this.#handleKey(handle), () => ({ answer: null, put: endpoint }));
  }

  async handles(): Promise<HandlePin[]> {
    const database = await this.#open();
    return new Promise((resolve, reject) => {
      const pins: HandlePin[] = [];
      const transaction = database.transaction(stores.handles, "readonly");
      const read = transaction.objectStore(stores.handles).openCursor();
      read.onsuccess = () => {
        const cursor = read.result;
        if (cursor === null) return;
        const [bus, handle] = cursor.key as string[];
        if (bus === this.place.bus && handle !== undefined) pins.push({ handle, endpoint: String(cursor.value) });
        cursor.continue();
      };
      transaction.oncomplete = () => resolve(pins);
      transaction.onabort = () => reject(databaseError(transaction.error));
    });
  }

  note(roomId: string, name: RoomNote): Promise<unknown> {
    return this.#change("notes", [roomId, name], (kept) => ({ answer: kept ?? null }));
  }

  async saveNote(roomId: string, name: RoomNote, value: object): Promise<void> {
    await this.#change("notes", [roomId, name], () => ({ answer: null, put: value }));
  }

  #pin(roomId: string, kept: unknown): RoomPin | null {
    const pin = kept === undefined ? null : pinOf(kept);
    if (kept !== undefined && pin === null) throw corruptState(`room ${roomId}`);
    return pin;
  }

  #endpoint(handle: string, kept: unknown): string | null {
    if (kept !== undefined && typeof kept !== "string") throw corruptState(`handle ${JSON.stringify(handle)}`);
    return kept ?? null;
  }

  #handleKey(handle: string): string[] {
    return [this.place.bus, handle];
  }

  async #open(): Promise<IDBDatabase> {
    const shape = { name: this.place.folder, version: databaseVersion, stores: Object.values(stores) };
    this.#database ??= openDatabase(shape, () => {
      this.#database = null;
    });
    return this.#database.catch((error: unknown) => {
      this.#database = null;
      throw isUnibusError(error) ? error : databaseError(error);
    });
  }

  /** Reads one entry, decides, and writes it if the decision has a `put`, in one transaction. */
  async #change<T>(
    store: Store,
    key: IDBValidKey,
    decide: (kept: unknown) => { readonly answer: T; readonly put?: unknown },
  ): Promise<T> {
    const database = await this.#open();
    return new Promise<T>((resolve, reject) => {
      // Strict durability: a pin must survive a power failure.
      const transaction = database.transaction(stores[store], "readwrite", { durability: "strict" });
      const entries = transaction.objectStore(stores[store]);
      const read = entries.get(key);
      let answer: { readonly value: T } | null = null;
      read.onsuccess = () => {
        try {
          const decision = decide(read.result);
          if (decision.put !== undefined) entries.put(decision.put, key);
          answer = { value: decision.answer };
        } catch (error) {
          reject(error);
          transaction.abort();
        }
      };
      transaction.oncomplete = () => (answer === null ? reject(databaseError(null)) : resolve(answer.value));
      transaction.onabort = () => reject(databaseError(transaction.error));
    });
  }
}

/** Opens the state in a database of this origin. Creates nothing until there is something to store. */
export function openState(place: StatePlace): ClientState {
  return new DatabaseState(place);
}
