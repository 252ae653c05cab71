import { type AuditedCall, audit } from "../../contracts/audit.ts";
import type { Caller } from "../../contracts/auth.ts";
import type { Denials } from "../../contracts/denials.ts";
import type { Log } from "../../contracts/plugin.ts";
import type { Rooms } from "../../contracts/rooms.ts";
import type { RoomStreams } from "../../contracts/streams.ts";
import { SlidingWindow } from "../../lib/sliding-window.ts";
import { erasedPerMinuteMax } from "../../wire/api.ts";
import { sha256Hex } from "../../wire/encoding.ts";
import { UnibusError } from "../../wire/errors.ts";
import { decodeFrame, isDropped } from "../../wire/frame.ts";

/** The window in which a user's requests are counted, in milliseconds. */
const windowMs = 60_000;
/** Maximum number of users in memory. Above it, users without a request in the last minute are removed. */
const usersMax = 10_000;

/** The dependencies of the rules of erasing. */
export interface EraseDeps {
  readonly rooms: Rooms;
  /** Undefined if the bus stores no messages. */
  readonly streams: RoomStreams | undefined;
  readonly denials: Denials | undefined;
  readonly log: Log;
  readonly now: () => number;
}

/** The sender that a stored frame names; null if it is not a frame. Its signature is the members' to check. */
function senderOf(frame: Uint8Array): string | null {
  const decoded = decodeFrame(frame);
  return isDropped(decoded) ? null : decoded.from;
}

/** Erases single stored messages: its sender and the room's owners may. Source: docs/protocol/history.md. */
export class Eraser {
  readonly #paces: SlidingWindow;

  constructor(private readonly deps: EraseDeps) {
    this.#paces = new SlidingWindow({ max: erasedPerMinuteMax, windowMs, keysMax: usersMax, now: deps.now });
  }

  /**
   * Erases the message with a sequence number and returns the hex sha256 of its frame.
   * Errors: those of `Rooms.member`; rate_limited, counted before anything is read; not_found if it is gone or not a
   * message of this room; forbidden for a message of another member; conflict if the room cannot erase; unavailable.
   */
  async erase(roomId: string, seq: number, call: AuditedCall & { readonly caller: Caller }): Promise<string> {
    const { endpoint } = call.caller;
    const { rooms, streams, denials, log } = this.deps;
    const { room, stay } = await rooms.member(roomId, endpoint);
    this.#count(endpoint);
    if (!room.policy.persist || streams === undefined) throw noMessage();
    // A failure, or nothing, may mean that the stream was removed with its room.
    const isThere = () => rooms.member(roomId, endpoint);
    const stored = await orElse(streams.stored(room, seq), isThere);
    const sender = senderOf(stored.frame);
    if (stay.role !== "owner" && sender !== endpoint) {
      throw new UnibusError("forbidden", "only its sender and the room's owners can erase a message (ask an owner)");
    }
    if (!stored.isErasable) throw notErasable();
    const sha256 = sha256Hex(stored.frame);
    await denials?.note("erased", `${room.roomId}/${sha256}`);
    if (!(await orElse(streams.erase(room, seq), isThere))) throw noMessage();
    audit(log, "message_erased", call, { room_id: room.roomId, seq, sender, sha256 });
    return sha256;
  }

  /** Counts a request. Errors: rate_limited. */
  #count(endpoint: string): void {
    const place = this.#paces.take(endpoint);
    if (!("waitMs" in place)) return;
    const retryAfterS = Math.max(1, Math.ceil(place.waitMs / 1_000));
    const message = `at most ${erasedPerMinuteMax} messages can be erased in a minute (try again in ${retryAfterS} s)`;
    throw new UnibusError("rate_limited", message, { retryAfterS });
  }
}

/** The result of `work`. If it fails or is null, `check` may throw a better reason. Errors: not_found for null. */
async function orElse<T>(work: Promise<T | null>, check: () => Promise<unknown>): Promise<T> {
  const result = await work.catch(async (error: unknown) => {
    await check();
    throw error;
  });
  if (result !== null) return result;
  await check();
  throw noMessage();
}

function noMessage(): UnibusError {
  return new UnibusError("not_found", "no such message in this room (read the history for the sequence numbers)");
}

function notErasable(): UnibusError {
  const hint = "create a new room, or delete this one with all its messages";
  return new UnibusError(
    "conflict",
    `an earlier version created this room, so its messages cannot be erased (${hint})`,
  );
}
