import { TokenBucket } from "../lib/token-bucket.ts";
import { hasCode } from "../wire/errors.ts";
import { type DropReason, decodeFrame, type Frame, isDropped } from "../wire/frame.ts";
import { ulidTimeMs } from "../wire/ulid.ts";
import type { BusClock } from "./clock.ts";
import { type Opened, openFrame, type Refused, signatureFault } from "./frames.ts";
import { Recent } from "./recent.ts";
import type { RoomKeys } from "./room-keys.ts";
import type { RoomTrust } from "./trust.ts";
import { memberAt, memberNow, type VerifiedMember, type VerifiedRoom } from "./verified-room.ts";

/** How long live frames of an epoch are taken after the next one was learned of, in milliseconds. Source: spec 4. */
const oldEpochMs = 60_000;
/** A live frame whose time differs by more is late or early, in milliseconds. Source: spec 4. */
const markMs = 600_000;
/** How many frames are remembered to tell repeats. */
const repeatsMax = 65_536;
/** Reads of the room that frames of unknown epochs or senders may cause: so many at once, then one a second. */
const unknownReads = { burst: 5, perSecond: 1 } as const;
/**
 * After a member signed an epoch that the bus does not show, their next frames of unknown epochs cause no read for this
 * time, in milliseconds; and how many such members are remembered.
 */
const distrust = { ms: 10_000, membersMax: 1_024 } as const;

/** A frame that holds, as the application is given it. */
export interface Received extends Opened {
  readonly sender: VerifiedMember;
  readonly mark: TimeMark | null;
}

/**
 * What the time of a frame that came live says: it is more than 10 minutes older or newer than this computer's clock,
 * or that clock disagrees with the bus's and cannot tell. What is read from a history or a backlog is not marked.
 */
export type TimeMark = "late" | "early" | "clock_unsure";

/** Where a frame came from: what is checked of it besides. */
export type Origin = "live" | "history";

/** What a receiver needs. */
export interface ReceiverParts {
  readonly trust: RoomTrust;
  readonly keys: RoomKeys;
  readonly clock: BusClock;
  /** Called with each frame that is dropped. */
  readonly onDrop: (refused: Refused) => void;
}

/**
 * Makes of the bytes that came for one room what its members said, and drops what is anything else.
 * It never throws for what a frame holds. Source: spec 4.
 */
export class Receiver {
  readonly #reads = new TokenBucket(unknownReads.burst, unknownReads.perSecond);
  readonly #seen = new Recent(repeatsMax);
  /** The read of the room that is about to begin. */
  #ahead: Promise<VerifiedRoom> | null = null;
  /** Until when a member's word for an unknown epoch is not looked into, by endpoint and `performance.now()`. */
  readonly #distrusted = new Map<string, number>();

  constructor(private readonly parts: ReceiverParts) {}

  /** Whether a frame was told of before; it is remembered either way. */
  isRepeat({ from, id }: Frame): boolean {
    return !this.#seen.add(`${from}.${id}`);
  }

  /** Whether a frame was told of. */
  knows({ from, id }: Frame): boolean {
    return this.#seen.has(`${from}.${id}`);
  }

  /**
   * What was said in some bytes, or null for what was dropped. Repeats are for the caller: it knows the order.
   * Errors: room_forked; unavailable where the room's key or members cannot be read at the moment.
   */
  async open(bytes: Uint8Array, origin: Origin): Promise<Received | null> {
    const frame = decodeFrame(bytes);
    // When it came counts, not when it could be opened.
    const mark = isDropped(frame) || origin !== "live" ? null : this.#markOf(frame);
    const result = isDropped(frame) ? frame : await this.#check(frame, origin);
    if (!isDropped(result)) return { ...result, mark };
    this.parts.onDrop({ ...result, claims: isDropped(frame) ? undefined : frame.from });
    return null;
  }

  /** Counts a frame that the caller dropped. */
  drop(reason: DropReason): void {
    this.parts.onDrop({ drop: reason });
  }

  #markOf({ id }: Frame): TimeMark | null {
    const { clock } = this.parts;
    if (!clock.isSure) return "clock_unsure";
    const aheadMs = ulidTimeMs(id) - clock.wallMs();
    if (Math.abs(aheadMs) <= markMs) return null;
    return aheadMs > 0 ? "early" : "late";
  }

  async #check(frame: Frame, origin: Origin): Promise<Checked | Refused> {
    const { trust, keys, clock } = this.parts;
    const { room } = trust;
    if (frame.s !== room.state.subject) return { drop: "wrong_subject" };
    if (frame.e > room.state.epoch) return this.#checkAhead(frame, origin);
    if (origin === "live" && clock.steadyMs() - trust.newerSinceMs(frame.e) > oldEpochMs) return { drop: "old_epoch" };
    // Whoever was added a moment ago is not known yet: that begins no epoch.
    const sender = memberAt(room, frame.from, frame.e) ?? memberAt(await this.#readAhead(), frame.from, frame.e);
    if (sender === null) return { drop: "not_a_member" };
    const roomKey = await this.#keyOf(keys, frame.e);
    const { roomId, policy } = room.state;
    const opened = await openFrame(frame, { roomId, policy, roomKey, signPub: sender.sign_pub });
    return isDropped(opened) ? opened : { ...opened, sender };
  }

  /**
   * A frame of an epoch that is not known yet: the room is read, and a frame above what that read shows is dropped.
   * Anyone can write a number, so this proves nothing about the bus: it ends no reading and no sending. Only an owner's
   * signature is a claim that is looked into.
   */
  async #checkAhead(frame: Frame, origin: Origin): Promise<Checked | Refused> {
    const { trust } = this.parts;
    // What is forged, or of somebody who was wrong a moment ago, causes no read.
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

  /** Why a frame of a later epoch than a room has is dropped, and who signed it. */
  async #aheadFault(frame: Frame, room: VerifiedRoom): Promise<Refused> {
    const sender = memberNow(room, frame.from);
    if (sender === null) return { drop: "not_a_member" };
    const { roomId, policy } = room.state;
    const fault = await signatureFault(frame, { roomId, policy, signPub: sender.sign_pub });
    if (fault !== null) return { drop: fault };
    return { drop: "epoch_ahead", signedBy: frame.sig === undefined ? undefined : frame.from };
  }

  #distrust(endpoint: string): void {
    this.#distrusted.delete(endpoint);
    this.#distrusted.set(endpoint, performance.now() + distrust.ms);
    const [oldest] = this.#distrusted.keys();
    if (this.#distrusted.size > distrust.membersMax && oldest !== undefined) this.#distrusted.delete(oldest);
  }

  /** Frames that come before a read begins share it: junk does not make those behind it wait for one read each. */
  #readAhead(): Promise<VerifiedRoom> {
    this.#ahead ??= this.#reads.take().then(() => {
      this.#ahead = null;
      return this.parts.trust.refresh();
    });
    return this.#ahead;
  }

  /** The key of an epoch; null where this peer has none. Errors: all but that. */
  async #keyOf(keys: RoomKeys, epoch: number): Promise<Uint8Array | null> {
    try {
      return await keys.key(epoch);
    } catch (error) {
      if (hasCode(error, "not_found")) return null;
      throw error;
    }
  }
}

type Checked = Omit<Received, "mark">;
