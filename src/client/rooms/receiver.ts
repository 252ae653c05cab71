/**
 * Turns the frames received for one room into verified messages, and drops everything else with a reason.
 *
 * It checks subject, epoch, membership and signature against the room's verified state, and decrypts and decodes the
 * payload. A frame of an unknown epoch or sender makes it read the room, at a bounded rate. Replays are left to the
 * caller, which knows the order of delivery. Used by `RoomSubscription`, `RoomReader`, `Durable` and `Requests`.
 * Source: docs/protocol/frames.md.
 */

import { LruCache } from "../../lib/lru-cache.ts";
import { TokenBucket } from "../../lib/token-bucket.ts";
import { halfHash } from "../../wire/chain-entry.ts";
import { type Content, contentOf } from "../../wire/envelope.ts";
import { hasCode } from "../../wire/errors.ts";
import { type Dropped, type DropReason, encodeFrame, type Frame, isDropped } from "../../wire/frame.ts";
import { ulidTimeMs } from "../../wire/ulid.ts";
import { type Opened, openFrame, type Refused, signatureFault } from "../crypto/frames.ts";
import type { BusClock } from "../transport/clock.ts";
import type { RoomKeys } from "../trust/room-keys.ts";
import type { RoomTrust } from "../trust/room-trust.ts";
import { memberAt, memberNow, type VerifiedMember, type VerifiedRoom } from "../trust/verified-room.ts";
import { FrameMemory } from "./frame-memory.ts";
import type { RoomBlobs } from "./room-blobs.ts";

/**
 * How long live frames of an old epoch are accepted after a newer epoch was learned, in milliseconds.
 * Source: docs/protocol/frames.md.
 */
const oldEpochMs = 60_000;
/**
 * A live frame whose time differs by more is marked late or early, in milliseconds. Source: docs/protocol/frames.md.
 */
const markMs = 600_000;
/** Rate limit of reads caused by unknown epochs or senders: this many at once, then one a second. */
const unknownReads = { burst: 5, perSecond: 1 } as const;
/**
 * After a member signed an epoch that the server does not show, their frames of unknown epochs cause no read for this
 * time, in milliseconds. `membersMax` limits how many such members are remembered.
 */
const distrust = { ms: 10_000, membersMax: 1_024 } as const;

/** A valid frame, as passed to the application. */
export interface Received extends Opened {
  /** The first half of the frame's sha256, 32 hex digits. */
  readonly hash: string;
  /** What the payload says. */
  readonly content: Content;
  readonly sender: VerifiedMember;
  readonly mark: TimeMark | null;
  /** Where the message's file is. */
  readonly blobs: RoomBlobs;
}

/**
 * The result of checking a live frame's time: more than 10 minutes older or newer than this computer's clock, or
 * unknown because that clock disagrees with the server's. Frames from a history or a backlog are not marked.
 */
export type TimeMark = "late" | "early" | "clock_unsure";

/** Where a frame came from, which decides on additional checks. */
export type Origin = "live" | "history";

/** The dependencies of a `Receiver`. */
export interface ReceiverDeps {
  readonly trust: RoomTrust;
  readonly keys: RoomKeys;
  readonly clock: BusClock;
  readonly blobs: RoomBlobs;
  /** Called for each dropped frame, if the bytes are one. */
  readonly onDrop: (refused: Refused, frame?: Frame) => void;
  /** Called for each valid frame. */
  readonly onOpened: (received: Received) => void;
}

/**
 * Verifies and decrypts the frames of one room. Never throws because of a frame's content.
 * Source: docs/protocol/frames.md.
 */
export class Receiver {
  readonly #reads = new TokenBucket(unknownReads.burst, unknownReads.perSecond);
  /** The frames that were delivered. */
  readonly memory = new FrameMemory();
  /** The read of the room that is about to start. */
  #ahead: Promise<VerifiedRoom> | null = null;
  /** Until when a member's frames of unknown epochs cause no read, by endpoint, in `performance.now()` time. */
  readonly #distrusted = new LruCache<number>(distrust.membersMax);

  constructor(private readonly deps: ReceiverDeps) {}

  /** Whether a frame was delivered. */
  knows(frame: Frame): boolean {
    return this.memory.positionOf(frame) !== null;
  }

  /**
   * Opens a decoded frame; null if it was dropped. Does not check for replays: the caller knows the order of delivery.
   * Errors: room_forked; unavailable if the room's key or members cannot be read now.
   */
  async open(
    frame: Frame | Dropped,
    origin: Origin,
    onDrop: (refused: Refused) => void = () => undefined,
  ): Promise<Received | null> {
    // The time of arrival counts, not the time of decryption.
    const mark = isDropped(frame) || origin !== "live" ? null : this.#markOf(frame);
    const result = isDropped(frame) ? frame : await this.#check(frame, origin);
    if (!isDropped(result)) {
      const hash = halfHash(encodeFrame(result.frame));
      const received = { ...result, mark, hash, blobs: this.deps.blobs };
      this.deps.onOpened(received);
      return received;
    }
    const isFrame = !isDropped(frame);
    const refused = { ...result, claims: isFrame ? frame.from : undefined };
    onDrop(refused);
    this.deps.onDrop(refused, isFrame ? frame : undefined);
    return null;
  }

  /** Records a frame that the caller dropped. */
  drop(reason: DropReason): void {
    this.deps.onDrop({ drop: reason });
  }

  #markOf({ id }: Frame): TimeMark | null {
    const { clock } = this.deps;
    if (!clock.isSure) return "clock_unsure";
    const aheadMs = ulidTimeMs(id) - clock.wallMs();
    if (Math.abs(aheadMs) <= markMs) return null;
    return aheadMs > 0 ? "early" : "late";
  }

  async #check(frame: Frame, origin: Origin): Promise<Checked | Refused> {
    const { trust, keys, clock } = this.deps;
    const { room } = trust;
    if (frame.s !== room.state.subject) return { drop: "wrong_subject" };
    if (frame.e > room.state.epoch) return this.#checkAhead(frame, origin);
    if (origin === "live" && clock.steadyMs() - trust.newerSinceMs(frame.e) > oldEpochMs) return { drop: "old_epoch" };
    // A member added a moment ago may be unknown here: adding a member does not start a new epoch.
    const sender = memberAt(room, frame.from, frame.e) ?? memberAt(await this.#readAhead(), frame.from, frame.e);
    if (sender === null) return { drop: "not_a_member" };
    const roomKey = await this.#keyOf(keys, frame.e);
    const { roomId, policy } = room.state;
    const opened = await openFrame(frame, { roomId, policy, roomKey, signPub: sender.sign_pub });
    if (isDropped(opened)) return opened;
    const content = contentOf(frame.t, opened.payload);
    if (!isDropped(content)) return { ...opened, content, sender };
    return { drop: content.drop, signedBy: opened.verified ? frame.from : undefined };
  }

  /**
   * Handles a frame of an unknown epoch: reads the room, and drops the frame if its epoch is still above the room's.
   * Anyone can write a number, so this proves nothing about the server and stops neither reading nor sending. Only an
   * epoch that an owner signed becomes a claim.
   */
  async #checkAhead(frame: Frame, origin: Origin): Promise<Checked | Refused> {
    const { trust } = this.deps;
    // A forged frame, or one of a member whose last such frame was wrong, causes no read.
    const early = await this.#aheadFault(frame, trust.room);
    const isDistrusted = early.signedBy !== undefined && (this.#distrusted.get(frame.from) ?? 0) > performance.now();
    if (isDistrusted || early.drop === "bad_signature" || early.drop === "unsigned") return early;
    const room = await this.#readAhead();
    if (frame.e <= room.state.epoch) return this.#check(frame, origin);
    const refused = await this.#aheadFault(frame, room);
    if (refused.signedBy === undefined) return refused;
    this.#distrust(frame.from);
    if (memberNow(room, frame.from)?.role === "owner") trust.claims.add({ by: frame.from, epoch: frame.e });
    return refused;
  }

  /** Why a frame of a later epoch is dropped, and who signed it. */
  async #aheadFault(frame: Frame, room: VerifiedRoom): Promise<Refused> {
    const sender = memberNow(room, frame.from);
    if (sender === null) return { drop: "not_a_member" };
    const { roomId, policy } = room.state;
    const fault = await signatureFault(frame, { roomId, policy, signPub: sender.sign_pub });
    if (fault !== null) return { drop: fault };
    return { drop: "epoch_ahead", signedBy: frame.sig === undefined ? undefined : frame.from };
  }

  #distrust(endpoint: string): void {
    this.#distrusted.set(endpoint, performance.now() + distrust.ms);
  }

  /** Frames that arrive before a read starts share it, so that junk does not queue one read per frame. */
  #readAhead(): Promise<VerifiedRoom> {
    this.#ahead ??= this.#reads.take().then(() => {
      this.#ahead = null;
      return this.deps.trust.refresh();
    });
    return this.#ahead;
  }

  /** The key of an epoch; null if this peer has none. Errors: all others of `RoomKeys.key`. */
  async #keyOf(keys: RoomKeys, epoch: number): Promise<Uint8Array | null> {
    try {
      return await keys.key(epoch);
    } catch (error) {
      if (hasCode(error, "not_found")) return null;
      throw error;
    }
  }
}

type Checked = Omit<Received, "mark" | "hash" | "blobs">;
