/**
 * Detects a server that hides newer epochs of a room, which an owner has signed.
 *
 * One frame proves nothing about the server: its sender may have written any number. So a claim counts only if an owner
 * signed it, and it is confirmed only if a second read of the room, 10 seconds later, still shows an older epoch. While
 * a confirmed claim is open, sending fails with `room_stale`. A claim ends when a read shows its epoch, or when its
 * signer no longer owns the room. Confirmed claims are kept in the client's state, so that they also hold for a program
 * that only sends. Source: docs/protocol/rooms.md.
 */
import { isUnibusError, UnibusError } from "../../wire/errors.ts";
import { epochMax, ownersMax } from "../../wire/statement.ts";
import { pause } from "../transport/wait.ts";
import type { ClientState } from "./state.ts";
import { memberNow, type VerifiedRoom } from "./verified-room.ts";

/**
 * The delay before the second read of a room that confirms a claim, in milliseconds. Source: docs/protocol/rooms.md.
 */
const confirmAfterMs = 10_000;

/** An owner's signed claim that the room has reached an epoch. */
export interface EpochClaim {
  /** The endpoint of the owner. */
  readonly by: string;
  readonly epoch: number;
}

interface EpochClaimsDeps {
  readonly roomId: string;
  readonly state: ClientState;
  /** Reads the room again. The read must start after this call. */
  readonly refresh: () => Promise<VerifiedRoom>;
  /** Called once for each confirmed claim. */
  readonly onStale: (claim: EpochClaim, error: UnibusError) => void;
  readonly onTrouble: (error: unknown) => void;
  readonly signal: AbortSignal | undefined;
}

/** Errors after which the room is not read again. */
const isOver: ReadonlySet<string> = new Set(["room_forked", "gone", "forbidden", "not_found"]);

function claimsIn(note: unknown): EpochClaim[] {
  const { claims } = (note ?? {}) as { claims?: unknown };
  if (!Array.isArray(claims)) return [];
  return (claims as Partial<EpochClaim>[]).flatMap(({ by, epoch }) => {
    const holds = typeof by === "string" && Number.isSafeInteger(epoch) && Number(epoch) <= epochMax;
    return holds ? [{ by, epoch: Number(epoch) }] : [];
  });
}

/** The epoch claims of one room. */
export class EpochClaims {
  /** Claims that wait for the second read, with the time of the first claim by `performance.now()`. */
  readonly #waiting = new Map<string, { readonly epoch: number; readonly atMs: number }>();
  readonly #confirmed = new Map<string, number>();
  #isChecking = false;

  constructor(private readonly deps: EpochClaimsDeps) {}

  /** Loads the claims that were confirmed earlier. Errors: those of the client's state. */
  async load(): Promise<void> {
    for (const { by, epoch } of claimsIn(await this.deps.state.note(this.deps.roomId, "claims"))) {
      this.#confirmed.set(by, epoch);
    }
  }

  /** Adds a claim. The caller has verified the signature, and that the signer owns the room. */
  add({ by, epoch }: EpochClaim): void {
    const known = Math.max(this.#confirmed.get(by) ?? 0, this.#waiting.get(by)?.epoch ?? 0);
    if (epoch <= known || this.#waiting.size >= ownersMax) return;
    // Keep the time of the first claim: an owner who keeps raising the epoch must not postpone the second read for
    // ever.
    this.#waiting.set(by, { epoch, atMs: this.#waiting.get(by)?.atMs ?? performance.now() });
    void this.#check();
  }

  /** The confirmed claim that the room contradicts, or null. */
  standing(room: VerifiedRoom): EpochClaim | null {
    for (const [by, epoch] of this.#confirmed) {
      if (epoch > room.state.epoch && memberNow(room, by)?.role === "owner") return { by, epoch };
    }
    return null;
  }

  /** Throws while a confirmed claim is open. Errors: room_stale. */
  refuse(room: VerifiedRoom): void {
    const claim = this.standing(room);
    if (claim !== null) throw staleError(room, claim);
  }

  async #check(): Promise<void> {
    if (this.#isChecking) return;
    this.#isChecking = true;
    try {
      while (this.#waiting.size > 0) {
        await pause(confirmAfterMs, this.deps.signal);
        await this.#confirm(performance.now() - confirmAfterMs);
      }
    } catch (error) {
      if (this.deps.signal?.aborted !== true) this.deps.onTrouble(error);
      this.#waiting.clear();
    } finally {
      this.#isChecking = false;
    }
  }

  /** Confirms or discards the claims made before a moment. If the read fails, it is tried again later. */
  async #confirm(beforeMs: number): Promise<void> {
    const due = [...this.#waiting].filter(([, { atMs }]) => atMs <= beforeMs);
    if (due.length === 0) return;
    let room: VerifiedRoom;
    try {
      room = await this.deps.refresh();
    } catch (error) {
      if (isUnibusError(error) && isOver.has(error.code)) throw error;
      this.deps.onTrouble(error);
      return;
    }
    for (const [by, { epoch }] of due) {
      this.#waiting.delete(by);
      if (epoch <= room.state.epoch || memberNow(room, by)?.role !== "owner") continue;
      this.#confirmed.set(by, epoch);
      this.deps.onStale({ by, epoch }, staleError(room, { by, epoch }));
    }
    for (const [by, epoch] of this.#confirmed) {
      if (epoch <= room.state.epoch || memberNow(room, by)?.role !== "owner") this.#confirmed.delete(by);
    }
    const claims = [...this.#confirmed].map(([by, epoch]) => ({ by, epoch }));
    await this.deps.state.saveNote(this.deps.roomId, "claims", { claims });
  }
}

function staleError(room: VerifiedRoom, { by, epoch }: EpochClaim): UnibusError {
  const { subject, epoch: shown } = room.state;
  const what = `owner ${by} signed a message in epoch ${epoch} of ${subject}, but the server is at epoch ${shown}`;
  const hint = "ask another member which epoch they see, or override with --send-anyway";
  return new UnibusError("room_stale", `${what}: nothing was sent (${hint})`);
}
