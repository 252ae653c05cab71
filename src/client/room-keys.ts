import { Semaphore } from "../lib/semaphore.ts";
import { hasCode, UnibusError } from "../wire/errors.ts";
import { keyCheck } from "../wire/statement.ts";
import type { ControlPlane } from "./control.ts";
import { sealRoomKey } from "./keys.ts";
import type { RoomTrust } from "./trust.ts";
import { memberAt } from "./verified-room.ts";
import { OneAtATime, pause, waitFor } from "./wait.ts";

/** How many epochs' keys are kept open: more than a room has in years, or members could make readers ask again. */
const keysMax = 4_096;
/** How long an owner waits between two keys that it only keeps, in milliseconds. */
const keepPauseMs = 50;
/** How many keys are read from the bus at once: a page of a history may need many. */
const readsMax = 4;

/**
 * The room keys of one room that are sealed to this peer, each checked against what the owners signed for its epoch.
 * Source: spec 3.
 */
export class RoomKeys {
  readonly #keys = new Map<number, Promise<Uint8Array>>();
  readonly #reads = new Semaphore(readsMax);
  readonly #missing = new OneAtATime(() => this.#readMissing());

  constructor(
    private readonly trust: RoomTrust,
    private readonly control: ControlPlane,
    /** Ends what is under way when the client closes. */
    private readonly closing?: AbortSignal,
  ) {
    const keepMissing = () => trust.inBackground(this.#missing.run());
    trust.onVersion = keepMissing;
    keepMissing();
  }

  /**
   * The key of an epoch, 32 bytes; null where the owners signed that the room does not encrypt, and only there.
   * Errors: not_found for an epoch in which this peer was no member, or of which the bus shows no key; room_forked for
   * a key that is not the one that the owners signed, and for a room that was given up.
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
    // The room may have been given up since the key was read.
    this.trust.room;
    return key;
  }

  /** Takes a key that this peer made for an epoch which the room has reached. Errors: room_forked, as of `key`. */
  async adopt(epoch: number, roomKey: Uint8Array): Promise<void> {
    await this.#check(epoch, roomKey);
    await this.#note(epoch, sealRoomKey(roomKey, this.control.identity.kexPub));
    void this.#keep(epoch, Promise.resolve(roomKey));
  }

  #keep(epoch: number, key: Promise<Uint8Array>): Promise<Uint8Array> {
    this.#keys.set(epoch, key);
    const oldest = this.#keys.keys().next().value;
    if (this.#keys.size > keysMax && oldest !== undefined) this.#keys.delete(oldest);
    key.catch(() => {
      if (this.#keys.get(epoch) === key) this.#keys.delete(epoch);
    });
    return key;
  }

  async #read(epoch: number): Promise<Uint8Array> {
    const { roomId } = this.trust;
    const given = await this.control.roomKey(roomId, epoch, this.closing);
    const key = this.control.identity.openRoomKey(given.sealed_key);
    if (key === null) throw this.trust.fork(`what is sealed to you for epoch ${epoch} does not open`);
    await this.#check(epoch, key);
    await this.#note(epoch, given.sealed_key);
    return key;
  }

  /** Keeps a sealed key, so that a bus that loses it can get it back. */
  async #note(epoch: number, sealed: string): Promise<void> {
    await this.trust.kept.addKey(epoch, sealed).catch(() => undefined);
  }

  /** Keeps the keys of every epoch, where this peer is an owner: to restore a room is to seal them again. */
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
      throw this.trust.fork(`the key of epoch ${epoch} is not the one that its owners signed`);
    }
  }
}
