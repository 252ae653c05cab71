import { UnibusError } from "../wire/errors.ts";

/**
 * The newest of a room that a client has verified: what a bus may not go behind.
 * Shape: keys and hashes in lowercase hex, owners ascending. Source: spec 3.
 */
export interface RoomPin {
  readonly version: number;
  /** Of the statement of that version. */
  readonly hash: string;
  readonly epoch: number;
  readonly owners: readonly string[];
  /** The owners whom the client saw first; they never change. */
  readonly firstOwners: readonly string[];
}

/**
 * What a client remembers of one bus for one identity, so that the bus cannot take its word back.
 * Several processes may share it. Rooms are kept for the identity, whatever address led to them: a room's id is never
 * used again, and another address must not make a client forget. Handles are kept for each bus.
 * Errors: invalid when what was kept is corrupt: it is never made anew by itself; unavailable when it cannot be used.
 */
export interface ClientState {
  room(roomId: string): Promise<RoomPin | null>;
  /**
   * Keeps a pin unless a later one is there. Gives the one that holds then, with the owners who were first.
   * Errors: room_forked when the same version is kept with another hash.
   */
  saveRoom(roomId: string, pin: RoomPin): Promise<RoomPin>;
  /**
   * Takes a pin that is older than the one that was kept, or of another chain: a person has decided to follow a bus
   * that was restored from an older backup.
   */
  returnRoom(roomId: string, pin: RoomPin): Promise<void>;
  /** The ids of all rooms of which a pin is kept, in no order. */
  rooms(): Promise<string[]>;
  /** The endpoint that a handle was first used for, or null. */
  handle(handle: string): Promise<string | null>;
  /** Notes the endpoint of a handle at its first use. Gives the one that was there first. */
  pinHandle(handle: string, endpoint: string): Promise<string>;
  /** Takes another endpoint for a handle, which the user has approved. */
  repinHandle(handle: string, endpoint: string): Promise<void>;
  /** All handles that are pinned on this bus, in no order. */
  handles(): Promise<HandlePin[]>;
  /** What was noted of a room under a name, as it was saved, or null. The caller checks its shape. */
  note(roomId: string, name: RoomNote): Promise<unknown>;
  /** Replaces a note of a room with a JSON value. Of two processes that write at once, the last one wins. */
  saveNote(roomId: string, name: RoomNote, value: object): Promise<void>;
}

/**
 * What is noted of a room beside its pin, each in a record of its own:
 * `claims`: later epochs that owners signed and the bus does not show;
 * `identity`: the room's fingerprint, how it was verified, and which owners were approved;
 * `key`: since when this client has seen the room's key, and how many messages were said under it;
 * `members`, `keys`, `statements-0` and so on: what can be given back to a bus that lost it, see `KeptRoom`.
 */
export type RoomNote = "claims" | "identity" | "key" | "members" | "keys" | `statements-${number}`;

/** A handle, and the endpoint that it was first used for. */
export interface HandlePin {
  readonly handle: string;
  readonly endpoint: string;
}

/** Where a state is kept. */
export interface StatePlace {
  /** A folder of one identity alone; in a browser, the name of a database. */
  readonly folder: string;
  /** The name of the bus: the address by which the user knows it. */
  readonly bus: string;
}

/** The error of a room whose bus contradicts what was signed, or what this client has seen. Source: spec 3. */
export function roomForked(roomId: string, what: string, cause?: unknown): UnibusError {
  const mend = "the bus, or whoever stands before it, does not tell the truth: ask the owners, send nothing";
  return new UnibusError("room_forked", `room ${roomId}: ${what} (${mend})`, { cause });
}

/** Which of two pins of a room holds: the later one. Errors: room_forked for two texts of one version. */
export function laterPin(roomId: string, kept: RoomPin | null, given: RoomPin): RoomPin {
  if (kept === null) return given;
  if (kept.version === given.version && kept.hash !== given.hash) {
    throw roomForked(roomId, `version ${given.version} has two texts`);
  }
  return kept.version >= given.version ? kept : { ...given, firstOwners: kept.firstOwners };
}

const hash = /^[0-9a-f]{64}$/;
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0;
const isHash = (value: unknown): value is string => typeof value === "string" && hash.test(value);
const areKeys = (value: unknown): value is string[] => Array.isArray(value) && value.length > 0 && value.every(isHash);

/** A pin as it was kept, or null when it is none. */
export function pinOf(value: unknown): RoomPin | null {
  const { version, hash, epoch, owners, firstOwners } = (value ?? {}) as Record<string, unknown>;
  const fits = isCount(version) && isHash(hash) && isCount(epoch) && areKeys(owners) && areKeys(firstOwners);
  return fits ? { version, hash, epoch, owners, firstOwners } : null;
}

/** The error for a state that is not as it was written. */
export function corruptState(where: string, cause?: unknown): UnibusError {
  const mend = "restore it from a copy; removing it means to believe the bus as on the first day";
  return new UnibusError("invalid", `what this client remembers is damaged: ${where} (${mend})`, { cause });
}

/** A state that lasts as long as the program: every room is new to the next one. */
export class MemoryState implements ClientState {
  readonly #rooms = new Map<string, RoomPin>();
  readonly #handles = new Map<string, string>();
  readonly #notes = new Map<string, object>();

  async room(roomId: string): Promise<RoomPin | null> {
    return this.#rooms.get(roomId) ?? null;
  }

  async saveRoom(roomId: string, pin: RoomPin): Promise<RoomPin> {
    const holds = laterPin(roomId, this.#rooms.get(roomId) ?? null, pin);
    this.#rooms.set(roomId, holds);
    return holds;
  }

  async returnRoom(roomId: string, pin: RoomPin): Promise<void> {
    this.#rooms.set(roomId, pin);
  }

  async rooms(): Promise<string[]> {
    return [...this.#rooms.keys()];
  }

  async handle(handle: string): Promise<string | null> {
    return this.#handles.get(handle) ?? null;
  }

  async pinHandle(handle: string, endpoint: string): Promise<string> {
    const first = this.#handles.get(handle) ?? endpoint;
    this.#handles.set(handle, first);
    return first;
  }

  async repinHandle(handle: string, endpoint: string): Promise<void> {
    this.#handles.set(handle, endpoint);
  }

  async handles(): Promise<HandlePin[]> {
    return [...this.#handles].map(([handle, endpoint]) => ({ handle, endpoint }));
  }

  async note(roomId: string, name: RoomNote): Promise<unknown> {
    return this.#notes.get(`${roomId} ${name}`) ?? null;
  }

  async saveNote(roomId: string, name: RoomNote, value: object): Promise<void> {
    this.#notes.set(`${roomId} ${name}`, structuredClone(value));
  }
}
