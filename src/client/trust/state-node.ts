/**
 * The client's state as files. Imported as `#state` in Node and Bun.
 *
 * A file is written under a temporary name, synced, and then linked or renamed into place, so that processes can share
 * a folder without locks and a crash leaves no partial file. `state.ts` has the interface and its rules.
 */
import { link, mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { placeFile } from "../../lib/atomic-file.ts";
import { sha256Hex } from "../../wire/encoding.ts";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";
import { isUlid } from "../../wire/names.ts";
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

/** How many times a read is repeated when another process changes the files. */
const attemptsMax = 100;

const codeOf = (error: unknown): unknown => (error as { code?: unknown } | null)?.code;

/** The result of `work`, or `other` if a name is missing or taken, depending on `code`. Errors: unavailable. */
async function unless<T, O>(code: "ENOENT" | "EEXIST", other: O, work: () => Promise<T>): Promise<T | O> {
  try {
    return await work();
  } catch (cause) {
    if (codeOf(cause) === code) return other;
    if (isUnibusError(cause)) throw cause;
    const hint = "check that its folder is readable and writable, and the disk is not full";
    throw new UnibusError("unavailable", `the client's state cannot be used: ${String(codeOf(cause))} (${hint})`, {
      cause,
    });
  }
}

/** Writes a complete file, then `place` gives it its name. Folders and files are accessible to their owner only. */
async function write(folder: string, text: string, place: (draft: string) => Promise<void>): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await placeFile(folder, text, place);
}

/**
 * Rooms: `rooms/<room_id>/<version>.json`; the highest version is valid. A version's file is created once and never
 * changed, and only lower ones are removed. So no process can roll a room back, and no lock is needed. Notes of a room
 * are in the same folder, `rooms/<room_id>/<name>.json`, and are replaced as a whole.
 */
class FileState implements ClientState {
  constructor(private readonly place: StatePlace) {}

  async room(roomId: string): Promise<RoomPin | null> {
    const folder = this.#roomFolder(roomId);
    for (let attempt = 1; attempt <= attemptsMax; attempt++) {
      const [newest] = await this.#versions(folder);
      if (newest === undefined) return null;
      const file = join(folder, `${newest}.json`);
      const text = await unless("ENOENT", null, () => readFile(file, "utf8"));
      // Another process wrote a later version between the two reads, and removed this one.
      if (text === null) continue;
      const pin = pinOf(this.#json(file, text));
      if (pin?.version !== newest) throw corruptState(file);
      return pin;
    }
    throw new UnibusError("unavailable", "another process keeps changing the client's state (try again)");
  }

  async saveRoom(roomId: string, pin: RoomPin): Promise<RoomPin> {
    const folder = this.#roomFolder(roomId);
    for (let attempt = 1; attempt <= attemptsMax; attempt++) {
      const kept = await this.room(roomId);
      const holds = laterPin(roomId, kept, pin);
      if (holds === kept) return kept;
      const file = join(folder, `${pin.version}.json`);
      const isOurs = await unless("EEXIST", false, async () => {
        await write(folder, JSON.stringify(holds), (draft) => link(draft, file));
        return true;
      });
      // Another process pinned this version first: check again that it saw the same.
      if (!isOurs) continue;
      const older = (await this.#versions(folder)).slice(1);
      await Promise.all(older.map((version) => rm(join(folder, `${version}.json`), { force: true })));
      return (await this.room(roomId)) ?? holds;
    }
    throw new UnibusError("unavailable", "another process keeps changing the client's state (try again)");
  }

  async returnRoom(roomId: string, pin: RoomPin): Promise<void> {
    const folder = this.#roomFolder(roomId);
    const stamp = crypto.randomUUID();
    const file = (version: number) => join(folder, `${version}.json`);
    // Keep the old pins as evidence, under names that are never read.
    for (const version of await this.#versions(folder)) {
      await unless("ENOENT", null, () => rename(file(version), join(folder, `left-${version}-${stamp}.json`)));
    }
    await unless("EEXIST", null, () => write(folder, JSON.stringify(pin), (draft) => rename(draft, file(pin.version))));
  }

  async rooms(): Promise<string[]> {
    const names = await unless("ENOENT", [], () => readdir(join(this.place.folder, "rooms")));
    return names.filter(isUlid);
  }

  async handle(handle: string): Promise<string | null> {
    const file = this.#handleFile(handle);
    const pin = await this.#handlePin(file);
    if (pin !== null && pin.handle !== handle) throw corruptState(file);
    return pin?.endpoint ?? null;
  }

  async handles(): Promise<HandlePin[]> {
    const names = await unless("ENOENT", [], () => readdir(this.#handleFolder));
    const files = names
      .filter((name) => /^[0-9a-f]{64}\.json$/.test(name))
      .map((name) => join(this.#handleFolder, name));
    const pins: HandlePin[] = [];
    for (const file of files) {
      const pin = await this.#handlePin(file);
      // The file's name is a hash that includes the bus.
      if (pin !== null && this.#handleFile(pin.handle) === file) pins.push(pin);
    }
    return pins;
  }

  async #handlePin(file: string): Promise<HandlePin | null> {
    const text = await unless("ENOENT", null, () => readFile(file, "utf8"));
    if (text === null) return null;
    const { handle, endpoint } = (this.#json(file, text) ?? {}) as Record<string, unknown>;
    if (typeof handle !== "string" || typeof endpoint !== "string") throw corruptState(file);
    return { handle, endpoint };
  }

  async pinHandle(handle: string, endpoint: string): Promise<string> {
    const kept = await this.handle(handle);
    if (kept !== null) return kept;
    const file = this.#handleFile(handle);
    await unless("EEXIST", null, () =>
      write(this.#handleFolder, JSON.stringify({ handle, endpoint }), (draft) => link(draft, file)),
    );
    return (await this.handle(handle)) ?? endpoint;
  }

  async repinHandle(handle: string, endpoint: string): Promise<void> {
    const file = this.#handleFile(handle);
    await unless("EEXIST", null, () =>
      write(this.#handleFolder, JSON.stringify({ handle, endpoint }), (draft) => rename(draft, file)),
    );
  }

  async note(roomId: string, name: RoomNote): Promise<unknown> {
    const file = join(this.#roomFolder(roomId), `${name}.json`);
    const text = await unless("ENOENT", null, () => readFile(file, "utf8"));
    return text === null ? null : this.#json(file, text);
  }

  async takeNote(roomId: string, name: RoomNote): Promise<unknown> {
    const file = join(this.#roomFolder(roomId), `${name}.json`);
    const taken = `${file}.${crypto.randomUUID()}.taken`;
    // A rename gives the file to one process only.
    const text = await unless("ENOENT", null, async () => {
      await rename(file, taken);
      return readFile(taken, "utf8");
    });
    await unless("ENOENT", undefined, () => rm(taken, { force: true }));
    return text === null ? null : this.#json(file, text);
  }

  async saveNote(roomId: string, name: RoomNote, value: object): Promise<void> {
    const folder = this.#roomFolder(roomId);
    const replace = (draft: string) => rename(draft, join(folder, `${name}.json`));
    await unless("EEXIST", null, () => write(folder, JSON.stringify(value), replace));
  }

  /** The stored versions of a room, highest first. */
  async #versions(folder: string): Promise<number[]> {
    const names = await unless("ENOENT", [], () => readdir(folder));
    return names
      .flatMap((name) => /^([1-9][0-9]{0,15})\.json$/.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => b - a);
  }

  #roomFolder(roomId: string): string {
    if (!isUlid(roomId)) throw new UnibusError("invalid", `${JSON.stringify(roomId)} is not a room id (give a ULID)`);
    return join(this.place.folder, "rooms", roomId);
  }

  get #handleFolder(): string {
    return join(this.place.folder, "handles");
  }

  #handleFile(handle: string): string {
    return join(this.#handleFolder, `${sha256Hex(`${this.place.bus}\n${handle}`)}.json`);
  }

  #json(file: string, text: string): unknown {
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw corruptState(file, cause);
    }
  }
}

/** Opens the state in a folder. Writes nothing until there is something to store. */
export function openState(place: StatePlace): ClientState {
  return new FileState(place);
}
