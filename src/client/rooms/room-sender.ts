/**
 * Seals and sends what a member says in one room. Every message passes `sealed`, which is the one place where the
 * header of its envelope is completed, and where it is encrypted and signed with the room's current key.
 */

import { Mutex } from "../../lib/mutex.ts";
import { noHash } from "../../wire/chain-entry.ts";
import { payloadOf } from "../../wire/envelope.ts";
import { UnibusError } from "../../wire/errors.ts";
import { sealFrame } from "../crypto/frames.ts";
import type { Identity } from "../crypto/identity.ts";
import type { BusClock } from "../transport/clock.ts";
import type { ConnectionManager } from "../transport/connection-manager.ts";
import type { ControlPlane } from "../transport/control.ts";
import type { Patience } from "../transport/outage.ts";
import { waitFor } from "../transport/wait.ts";
import type { RoomKeys } from "../trust/room-keys.ts";
import type { RoomTrust } from "../trust/room-trust.ts";
import { memberNow } from "../trust/verified-room.ts";
import type { Outgoing, Publisher } from "./publisher.ts";
import type { Saying, SayOptions, Sent } from "./saying.ts";
import type { SenderChain } from "./sender-chain.ts";
import type { Settling } from "./settling.ts";

/** The dependencies of a `RoomSender`. */
export interface SenderDeps {
  readonly trust: RoomTrust;
  readonly keys: RoomKeys;
  readonly control: ControlPlane;
  readonly settling: Settling;
  readonly chain: SenderChain;
  /** Takes the chain of an earlier run, if there is one. Called before each message. Never fails. */
  readonly beginChain: () => Promise<void>;
  readonly patience: Patience;
  readonly data: () => Promise<{ readonly live: ConnectionManager; readonly publisher: Publisher }>;
  /** Makes sure that the room is accepted before it is used. Errors: forbidden, gone, quota. */
  readonly enter: (signal: AbortSignal | undefined) => Promise<void>;
  /** Throws while a person's decision is pending. Errors: forbidden, room_stale. */
  readonly refuse: () => void;
  readonly onSent: () => void;
}

/** A sealed message. */
export interface SealedMessage extends Outgoing {
  readonly rekeyPending: boolean;
}

/** Sends the messages of one room. */
export class RoomSender {
  readonly #sealing = new Mutex();

  constructor(private readonly deps: SenderDeps) {}

  get identity(): Identity {
    return this.deps.control.identity;
  }

  get chain(): SenderChain {
    return this.deps.chain;
  }

  get clock(): BusClock {
    return this.deps.control.clock;
  }

  /** The epoch whose key encrypts what is sent now. */
  get epoch(): number {
    return this.deps.trust.room.state.epoch;
  }

  /**
   * Gets ready to encrypt a blob: reads the room, and settles it if that is due. Returns the epoch whose key to use.
   * Errors: those of reading a room; forbidden, room_stale while a person's decision is pending.
   */
  async prepare(signal: AbortSignal | undefined): Promise<number> {
    this.deps.refuse();
    // A message needs a connection, which reports changes of the room. A blob does not, so read the room first.
    await this.deps.trust.refresh(signal);
    await waitFor(this.deps.settling.beforeSealing(), signal);
    return this.epoch;
  }

  /** Throws if a blob of an epoch can no longer be sent: a frame has one epoch, which applies to its blobs. */
  checkEpoch(epoch: number): void {
    if (epoch === this.epoch) return;
    const { subject } = this.deps.trust.room.state;
    throw new UnibusError("conflict", `the blob was stored under an older key of ${subject} (store it again)`);
  }

  /** Seals a message and sends it. Errors: those of `Room.send`. */
  async say(saying: Saying, options: SayOptions): Promise<Sent> {
    this.deps.refuse();
    const { signal, blob } = options;
    // The first message needs reads over HTTP. It waits for those like later ones wait for the connection.
    const { done, leftMs: timeoutMs } = await this.deps.patience.run(async () => {
      await this.deps.enter(signal);
      // Connect before sealing: connecting reads the room, and a member may have left since.
      const { publisher } = await waitFor(this.deps.data(), signal);
      return { publisher, ...(await this.sealed(saying, signal, { blobEpoch: blob?.epoch, isChained: true })) };
    }, options);
    const { publisher, rekeyPending, ...outgoing } = done;
    const seq = outgoing.dedupId === null ? null : await publisher.store(outgoing, { ...options, timeoutMs });
    if (seq === null) await publisher.send(outgoing, { ...options, timeoutMs });
    this.deps.onSent();
    return { id: saying.id, seq, rekeyPending };
  }

  /**
   * Seals a message with the current key. One that `isChained` gets a place in this client's chain. Requests
   * and answers get none, because they are not sent again until they are stored.
   * Errors: those of `Room.send`; conflict for a blob of another epoch.
   */
  async sealed(
    saying: Saying,
    signal: AbortSignal | undefined,
    { blobEpoch, isChained = false }: { readonly blobEpoch?: number | undefined; readonly isChained?: boolean } = {},
  ): Promise<SealedMessage> {
    this.deps.refuse();
    await waitFor(this.deps.settling.beforeSealing(), signal);
    const { chain, trust } = this.deps;
    const { roomId, subject, policy, epoch, version } = trust.room.state;
    const statement = { version, hash: trust.room.hash.slice(0, noHash.length) };
    if (blobEpoch !== undefined) this.checkEpoch(blobEpoch);
    const rekeyPending = this.deps.settling.isPending;
    const roomKey = await this.deps.keys.key(epoch, signal);
    const { identity } = this;
    const { id, t, header, body, b, thr, re } = saying;
    const room = { roomId, subject, policy, epoch, roomKey };
    // One after another: signatures of WebCrypto become ready in any order, and sends keep theirs.
    const { bytes, onEnd } = await this.#sealing.hold(async () => {
      if (isChained) await this.deps.beginChain();
      const links = isChained ? chain.next(statement) : chain.context(statement);
      const payload = payloadOf(t, { ...links, ...header }, body);
      const sealed = await sealFrame({ id, t, payload, b, thr, re }, room, identity);
      return { bytes: sealed, onEnd: isChained ? chain.sealed(sealed) : undefined };
    });
    const dedupId = policy.persist ? `${identity.endpoint}.${id}` : null;
    return { roomId, subject, bytes, dedupId, rekeyPending, onEnd };
  }

  /** Throws unless this peer is an owner, for messages that count only from owners. Errors: forbidden. */
  checkOwner(what: string): void {
    const { room } = this.deps.trust;
    if (memberNow(room, this.identity.endpoint)?.role === "owner") return;
    throw new UnibusError("forbidden", `only an owner of ${room.state.subject} can ${what} (ask an owner)`);
  }
}
