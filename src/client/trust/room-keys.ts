import { LruCache } from "../../lib/lru-cache.ts";
import { Semaphore } from "../../lib/semaphore.ts";
import { hasCode, UnibusError } from "../../wire/errors.ts";
import { keyCheck } from "../../wire/statement.ts";
import { sealRoomKey } from "../crypto/keys.ts";
import type { ControlPlane } from "../transport/control.ts";
import { OneAtATime, pause, waitFor } from "../transport/wait.ts";
import type { RoomTrust } from "./room-trust.ts";
import { memberAt } from "./verified-room.ts";

/**
 * How many epochs' keys are cached. More than a room has in years: a small cache would let members make readers fetch
 * keys again and again.
 */
const keysMax = 4_096;
/** The pause between two keys that an owner only fetches for its copy, in milliseconds. */
const keepPauseMs = 50;
/** How many keys are fetched from the server at once. A page of history may need many. */
const readsMax = 4;

/**
 * The keys of one room that are sealed to this peer, each checked against the key_check that the owners signed for its
 * epoch. Source: docs/protocol/rooms.md.
 */
export class RoomKeys {
  readonly #keys = new LruCache<Promise<Uint8Array>, number>(keysMax);
  readonly #reads = new Semaphore(readsMax);
  readonly #missing = new OneAtATime(() => this.#readMissing());

  constructor(
    private readonly trust: RoomTrust,
    private readonly control: ControlPlane,
    /** Aborts requests when the client closes. */
    private readonly closing?: AbortSignal,
  ) {
    const keepMissing = () => trust.inBackground(this.#missing.run());
    trust.onVersion(keepMissing);
    keepMissing();
  }

  /**
   * The key of an epoch, 32 bytes; null only if the owners signed that the room does not encrypt.
   * Errors: not_found for an epoch in which this peer was not a member, or for which the server has no key; room_forked
   * for a key that does not match the signed key_check, and for a room that was rejected as forked.
   */
  async key(epoch: number, signal?: AbortSignal): Promise<Uint8Array | null> {
    const { room } = this.trust;
    if (!room.state.policy.encrypt) return null;
    if (epoch > room.state.epoch || memberAt(room, this.control.identity.endpoint, epoch) === null) {
      throw new UnibusError("not_found", `you were not in room ${this.trust.roomId} in epoch ${epoch}`);
    }
    const key = await waitFor(
      this.#keys.get(epoch) ??
        this.#keep(
          epoch,
          this.#reads.run(() => this.#read(epoch)),
        ),
      signal,
    );
    // Throws if the room was found to be forked while the key was read.
    this.trust.room;
    return key;
  }

  /** Adds a key that this peer made for a new epoch of the room. Errors: room_forked, as of `key`. */
  async adopt(epoch: number, roomKey: Uint8Array): Promise<void> {
    await this.#check(epoch, roomKey);
    await this.#note(epoch, await sealRoomKey(roomKey, this.control.identity.kexPub));
    void this.#keep(epoch, Promise.resolve(roomKey));
  }

  #keep(epoch: number, key: Promise<Uint8Array>): Promise<Uint8Array> {
    this.#keys.set(epoch, key);
    key.catch(() => {
      if (this.#keys.get(epoch) === key) this.#keys.delete(epoch);
    });
    return key;
  }

  async #read(epoch: number): Promise<Uint8Array> {
    const { roomId } = this.trust;
    const given = await this.control.roomKey(roomId, epoch, this.closing);
    const key = await this.control.identity.openRoomKey(given.sealed_key);
    if (key === null) throw this.trust.fork(`cannot open your sealed key of epoch ${epoch}`);
    await this.#check(epoch, key);
    await this.#note(epoch, given.sealed_key);
    return key;
  }

  /** Stores a sealed key, so that it can be restored to a server that loses it. */
  async #note(epoch: number, sealed: string): Promise<void> {
    await this.trust.kept.addKey(epoch, sealed).catch(() => undefined);
  }

  /** If this peer is an owner, stores the keys of all epochs: restoring a room means sealing them again. */
  async #readMissing(): Promise<void> {
    const { state, owners, members } = this.trust.room;
    const { endpoint, signPubHex } = this.control.identity;
    if (!state.policy.encrypt || !owners.includes(signPubHex)) return;
    const kept = await this.trust.kept.keys();
    for (const { since, until } of members.get(endpoint) ?? []) {
      const last = until === 0 ? state.epoch : until - 1;
      for (let epoch = since; epoch <= last; epoch++) {
        if (kept.has(epoch) || this.closing?.aborted) continue;
        await this.key(epoch).catch((error: unknown) => {
          if (!hasCode(error, "not_found")) throw error;
        });
        await pause(keepPauseMs, this.closing);
      }
    }
  }

  async #check(epoch: number, key: Uint8Array): Promise<void> {
    const { roomId } = this.trust;
    if (keyCheck(roomId, epoch, key) !== (await this.trust.keyCheckAt(epoch, this.closing))) {
      throw this.trust.fork(`the key of epoch ${epoch} differs from the one that the owners signed`);
    }
  }
}
