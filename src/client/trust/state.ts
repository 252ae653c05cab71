/**
 * What a client remembers between runs: pins, which a server cannot roll back (TOFU, as SSH does with host keys).
 *
 * The newest version of each room and the first endpoint of each handle are pinned. A pin only moves forward, except by
 * a person's decision (`returnRoom`, `repinHandle`). Stored by `state-node.ts` in files, by `state-browser.ts` in
 * IndexedDB, by `MemoryState` not at all. Used by `RoomTrust`, `Directory` and others.
 */
import { UnibusError } from "../../wire/errors.ts";

/**
 * The newest version of a room that a client has verified. The server must not show an older one.
 * Shape: keys and hashes in lowercase hex, owners ascending. Source: docs/protocol/rooms.md.
 */
export interface RoomPin {
  readonly version: number;
  /** The hash of that version's statement. */
  readonly hash: string;
  readonly epoch: number;
  readonly owners: readonly string[];
  /** The owners that the client first saw; never changes. */
  readonly firstOwners: readonly string[];
}

/**
 * What a client remembers of one bus for one identity, so that the server cannot roll it back. Several processes may
 * share it. Rooms are stored per identity, whatever address led to them: room ids are never reused, and another address
 * must not make a client forget. Handles are stored per bus.
 * Errors: invalid if the stored data is corrupt (it is never reset automatically); unavailable if it cannot be
 * accessed.
 */
export interface ClientState {
  room(roomId: string): Promise<RoomPin | null>;
  /**
   * Stores a pin unless a later one is stored. Returns the valid one, with the first owners.
   * Errors: room_forked if the same version is stored with another hash.
   */
  saveRoom(roomId: string, pin: RoomPin): Promise<RoomPin>;
  /**
   * Replaces the pin by an older one, or by one of another chain, because a person decided to follow a server that was
   * restored from an older backup.
   */
  returnRoom(roomId: string, pin: RoomPin): Promise<void>;
  /** The ids of all rooms with a pin, unordered. */
  rooms(): Promise<string[]>;
  /** The endpoint that a handle was first used for, or null. */
  handle(handle: string): Promise<string | null>;
  /** Pins a handle to an endpoint at its first use. Returns the first endpoint. */
  pinHandle(handle: string, endpoint: string): Promise<string>;
  /** Pins a handle to another endpoint, which the user approved. */
  repinHandle(handle: string, endpoint: string): Promise<void>;
  /** All pinned handles of this bus, unordered. */
  handles(): Promise<HandlePin[]>;
  /** A note of a room, or null. The caller validates it. */
  note(roomId: string, name: RoomNote): Promise<unknown>;
  /** Replaces a note of a room with a JSON value. If two processes write at once, the last one wins. */
  saveNote(roomId: string, name: RoomNote, value: object): Promise<void>;
  /** Removes a note and returns it, or null. Of two processes that take it at once, one gets it. Not in browsers. */
  takeNote?(roomId: string, name: RoomNote): Promise<unknown>;
}

/**
 * The notes of a room besides its pin, each in its own record:
 * `claims`: later epochs that owners signed and the server does not show;
 * `identity`: the room's fingerprint, how it was verified, and which owners were approved;
 * `direct`: with whom a direct room is, and which third persons its user knows of;
 * `key`: when this client first saw the room's key, and how many messages were sent under it;
 * `chain`: the chain of this client's messages, with which its next run goes on;
 * `members`, `keys`, `statements-0` and so on: what can be restored to a server that lost it, see `KeptRoom`.
 */
export type RoomNote = "chain" | "claims" | "direct" | "identity" | "key" | "members" | "keys" | `statements-${number}`;

/** A handle, and the endpoint that it was first used for. */
export interface HandlePin {
  readonly handle: string;
  readonly endpoint: string;
}

/** Where a state is stored. */
export interface StatePlace {
  /** A folder for one identity only; in a browser, the name of a database. */
  readonly folder: string;
  /** The name of the bus: the address by which the user knows it. */
  readonly bus: string;
}

/**
 * The error if a server contradicts what owners signed, or what this client has seen. Source: docs/protocol/rooms.md.
 */
export function roomForked(roomId: string, what: string, cause?: unknown): UnibusError {
  const hint = "the server, or someone between you and it, is lying: ask the owners, and send nothing";
  return new UnibusError("room_forked", `room ${roomId}: ${what} (${hint})`, { cause });
}

/** The later one of two pins of a room. Errors: room_forked if one version has two hashes. */
export function laterPin(roomId: string, kept: RoomPin | null, given: RoomPin): RoomPin {
  if (kept === null) return given;
  if (kept.version === given.version && kept.hash !== given.hash) {
    throw roomForked(roomId, `there are two different statements of version ${given.version}`);
  }
  return kept.version >= given.version ? kept : { ...given, firstOwners: kept.firstOwners };
}

const hash = /^[0-9a-f]{64}$/;
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0;
const isHash = (value: unknown): value is string => typeof value === "string" && hash.test(value);
const areKeys = (value: unknown): value is string[] => Array.isArray(value) && value.length > 0 && value.every(isHash);

/** Validates a stored pin; null if it is invalid. */
export function pinOf(value: unknown): RoomPin | null {
  const { version, hash, epoch, owners, firstOwners } = (value ?? {}) as Record<string, unknown>;
  const fits = isCount(version) && isHash(hash) && isCount(epoch) && areKeys(owners) && areKeys(firstOwners);
  return fits ? { version, hash, epoch, owners, firstOwners } : null;
}

/** The error for stored data that is not valid. */
export function corruptState(where: string, cause?: unknown): UnibusError {
  const hint = "restore it from a copy; deleting it means trusting the server as on first use";
  return new UnibusError("invalid", `the client's state is damaged: ${where} (${hint})`, { cause });
}

/** A state in memory, which ends with the program: the next run sees every room for the first time. */
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

  async takeNote(roomId: string, name: RoomNote): Promise<unknown> {
    const note = this.#notes.get(`${roomId} ${name}`) ?? null;
    this.#notes.delete(`${roomId} ${name}`);
    return note;
  }
}
