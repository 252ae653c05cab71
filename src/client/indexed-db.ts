/** Opens databases of a browser, for the client's state and for identities. */
import { UnibusError } from "../wire/errors.ts";

/** A database and its object stores. The version grows when `stores` gets a new entry. */
export interface DatabaseShape {
  readonly name: string;
  readonly version: number;
  readonly stores: readonly string[];
}

/** The error for a database that does not open, or whose transaction failed. */
export function databaseError(cause: unknown): UnibusError {
  return new UnibusError("unavailable", "the browser stores no data for this page (allow site data)", { cause });
}

/** Opens a database. `onClose` is called when another page needs a later version of it. Errors: unavailable. */
export function openDatabase({ name, version, stores }: DatabaseShape, onClose: () => void): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name, version);
    request.onupgradeneeded = () => {
      const { objectStoreNames } = request.result;
      for (const store of stores) {
        if (!objectStoreNames.contains(store)) request.result.createObjectStore(store);
      }
    };
    request.onsuccess = () => {
      const database = request.result;
      database.onversionchange = () => {
        database.close();
        onClose();
      };
      resolve(database);
    };
    request.onerror = () => reject(databaseError(request.error));
    request.onblocked = () => reject(databaseError(null));
  });
}
