/**
 * Decides which rooms this peer takes part in. An owner can add a peer to a room without its consent, so the data plane
 * grants a room to a peer only once the peer has accepted it. `Acceptances` accepts a room when the application uses
 * it, accepts rooms offered by trusted owners (`acceptFrom`), and reports all other offers as invitations. `Bus` owns
 * the one instance and calls `enter` before a room is read or written. Source: docs/protocol/logins.md.
 */
import { TokenBucket } from "../../lib/token-bucket.ts";
import { hasCode, UnibusError } from "../../wire/errors.ts";
import type { ControlPlane } from "../transport/control.ts";
import { OneAtATime, waitFor } from "../transport/wait.ts";
import { KeptRoom } from "../trust/kept-room.ts";
import type { ClientState } from "../trust/state.ts";
import { type RoomEntry, roomPages } from "./room-list.ts";

/** The minimum time between two automatic acceptances of a room, in milliseconds. Source: docs/protocol/logins.md. */
const againAfterMsDefault = 30_000;
/** Maximum number of accepted or offered rooms to remember. */
const rememberedMax = 20_000;
/** Rate limit for reading pages of offers: this many at once, then one a second. */
const offerReads = { burst: 20, perSecond: 1 } as const;

/** A room that an owner added this peer to. */
export interface Invitation {
  readonly roomId: string;
  /** As the server states it; not verified until the room is opened. */
  readonly subject: string;
  /**
   * The endpoint of the owner who added this peer; null if the server did not record it. As the server states it; where
   * `accepted` is true, that user has signed a change of this room.
   */
  readonly addedBy: string | null;
  /** Whether the room was accepted automatically because `addedBy` is in `acceptFrom`. */
  readonly accepted: boolean;
}

/** The dependencies of `Acceptances`. */
export interface AcceptancesOptions {
  readonly control: ControlPlane;
  /** Endpoints whose rooms are accepted as soon as they add this peer. */
  readonly acceptFrom: ReadonlySet<string>;
  readonly state: ClientState;
  /** Opens a room, or reads it again: its statements are verified and stored in `state`. */
  readonly refresh: (roomId: string) => Promise<unknown>;
  /** Connects to the data plane if there is no connection yet. */
  readonly connect: () => Promise<unknown>;
  /**
   * Reconnects if there is a connection. A connection keeps the permissions of its login, so new ones need a new login.
   */
  readonly reconnect: () => Promise<void>;
  /** Whether the application listens for invitations. */
  readonly hasListeners: () => boolean;
  readonly onInvited: (invitation: Invitation) => void;
  readonly onTrouble: (error: unknown) => void;
  readonly signal: AbortSignal;
  /** The minimum time between two automatic acceptances of a room, in milliseconds (default 30,000). */
  readonly againAfterMs?: number;
}

/** Adds an entry to a set and evicts the oldest one if the set is full. */
function remember(seen: Set<string>, id: string): void {
  seen.delete(id);
  seen.add(id);
  if (seen.size > rememberedMax) for (const oldest of seen) return void seen.delete(oldest);
}

/** The rooms that this peer accepted, and those it was offered. */
export class Acceptances {
  /** Accepted rooms by id, as last read. `live` says whether the grant includes the room. */
  #accepted: ReadonlyMap<string, { readonly live: boolean }> = new Map();
  /** Rooms that a list reported as not accepted. */
  readonly #offered = new Set<string>();
  readonly #invited = new Set<string>();
  /** Rooms that a list reported as accepted, or that this client accepted. */
  readonly #known = new Set<string>();
  /** When each room was last accepted, by the monotonic clock. */
  readonly #acceptedAtMs = new Map<string, number>();
  readonly #entering = new Map<string, Promise<void>>();
  readonly #offerReads = new TokenBucket(offerReads.burst, offerReads.perSecond);
  readonly #looking = new OneAtATime(() => this.#readOffers());

  readonly #againAfterMs: number;
  /** Runs when rooms of trusted adders, which were accepted a moment ago, may be accepted again. */
  #again: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly options: AcceptancesOptions) {
    this.#againAfterMs = options.againAfterMs ?? againAfterMsDefault;
    options.signal.addEventListener("abort", () => clearTimeout(this.#again), { once: true });
  }

  /** Whether a room is known to be accepted: by a list of rooms, or because this client accepted it. */
  isAccepted(roomId: string): boolean {
    return this.#accepted.has(roomId) || this.#known.has(roomId);
  }

  /** Records that this peer created or accepted a room. */
  noteAccepted(roomId: string): void {
    this.#offered.delete(roomId);
    remember(this.#known, roomId);
  }

  /** Records which rooms of a list are accepted and which are only offered. */
  noteListed(entries: readonly RoomEntry[]): void {
    for (const { id, accepted } of entries) {
      if (accepted) this.#offered.delete(id);
      else remember(this.#offered, id);
      if (accepted) remember(this.#known, id);
      else this.#known.delete(id);
    }
  }

  /**
   * Reads the accepted rooms. `grant` is a fingerprint of what the next login would grant: it changes whenever that
   * does.
   * Errors: those of GET rooms.
   */
  async read(): Promise<{ readonly entries: readonly RoomEntry[]; readonly grant: string }> {
    const { control, signal } = this.options;
    const entries: RoomEntry[] = [];
    for await (const page of roomPages(control, { accepted: true }, signal)) entries.push(...page);
    this.noteListed(entries);
    this.#accepted = new Map(entries.map((entry) => [entry.id, entry]));
    return { entries, grant: entries.map(({ id, live }) => `${id} ${live}`).join("\n") };
  }

  /**
   * Makes sure that a room the application uses is in this peer's grant. Accepts it if necessary.
   * Errors: forbidden, gone; quota if the grant is too large to include the room.
   */
  async enter(roomId: string, signal?: AbortSignal): Promise<void> {
    if (this.#accepted.get(roomId)?.live === true) return;
    const entering = this.#entering.get(roomId) ?? this.#enter(roomId).finally(() => this.#entering.delete(roomId));
    this.#entering.set(roomId, entering);
    await waitFor(entering, signal);
  }

  async #enter(roomId: string): Promise<void> {
    // Connecting reads the accepted rooms. If this room is known to be unaccepted, accept it first and log in only
    // once.
    if (!this.#offered.has(roomId)) await this.options.connect();
    if (!this.#accepted.has(roomId) && this.#mayAccept(roomId)) await this.accept(roomId);
    if (this.#accepted.get(roomId)?.live !== false) return;
    throw new UnibusError(
      "quota",
      `no space for room ${roomId} in the login permissions, which are limited to 400 KiB (leave some rooms)`,
    );
  }

  /** Accepts a room at the request of a person or the application. Errors: not_found, forbidden, gone. */
  async accept(roomId: string, signal?: AbortSignal): Promise<void> {
    await this.options.control.acceptRoom(roomId, signal);
    this.noteAccepted(roomId);
    this.#noteAcceptance(roomId);
    await waitFor(this.options.reconnect(), signal);
  }

  /** Bounds how often a peer that is added and removed in a loop accepts the room and reconnects. */
  #mayAccept(roomId: string): boolean {
    const atMs = this.#acceptedAtMs.get(roomId);
    return atMs === undefined || performance.now() - atMs >= this.#againAfterMs;
  }

  #noteAcceptance(roomId: string): void {
    const nowMs = performance.now();
    for (const [id, atMs] of this.#acceptedAtMs) {
      if (nowMs - atMs < this.#againAfterMs && this.#acceptedAtMs.size < rememberedMax) break;
      this.#acceptedAtMs.delete(id);
    }
    this.#acceptedAtMs.delete(roomId);
    this.#acceptedAtMs.set(roomId, nowMs);
  }

  /**
   * Checks for offered rooms, unless no one would act on the result. Accepts those of trusted owners, and reports each
   * offer once.
   */
  async look(): Promise<void> {
    if (this.options.acceptFrom.size === 0 && !this.options.hasListeners()) return;
    try {
      await this.#looking.run();
    } catch (error) {
      if (!this.options.signal.aborted) this.options.onTrouble(error);
    }
  }

  async #readOffers(): Promise<void> {
    const { control, signal } = this.options;
    await this.#offerReads.take();
    for await (const page of roomPages(control, { accepted: false }, signal)) {
      this.noteListed(page);
      for (const entry of page) await this.#offer(entry);
      if (page.length > 0) await this.#offerReads.take();
    }
  }

  async #offer({ id: roomId, subject, addedBy }: RoomEntry): Promise<void> {
    const { acceptFrom, control, onInvited, signal } = this.options;
    const isTrusted = addedBy !== null && acceptFrom.has(addedBy) && (await this.#isConfirmed(roomId, addedBy));
    if (isTrusted && this.#mayAccept(roomId)) {
      await control.acceptRoom(roomId, signal);
      this.#offered.delete(roomId);
      this.#noteAcceptance(roomId);
      onInvited({ roomId, subject, addedBy, accepted: true });
    } else {
      if (isTrusted) this.#lookAgain();
      if (!this.#invited.has(roomId)) onInvited({ roomId, subject, addedBy, accepted: false });
    }
    remember(this.#invited, roomId);
  }

  /**
   * Whether the adder that the server names has signed a statement of the room, which the server cannot forge. The room
   * is pinned by then, so that no other one with its id can be shown later. Reports an adder who signed nothing.
   * Errors: those of opening the room, except room_forked, which is reported elsewhere.
   */
  async #isConfirmed(roomId: string, adder: string): Promise<boolean> {
    const { refresh, state, onTrouble } = this.options;
    try {
      await refresh(roomId);
      if (await new KeptRoom(roomId, state).hasSigned(adder)) return true;
    } catch (error) {
      if (!hasCode(error, "room_forked")) throw error;
    }
    // A list of forged offers must not cause reads without end.
    await this.#offerReads.take();
    if (this.#invited.has(roomId)) return false;
    const what = `the bus says that ${adder} added you to room ${roomId}, but they signed nothing in it`;
    onTrouble(new UnibusError("forbidden", `${what} (ask them before you open it)`));
    return false;
  }

  /** Looks again once every room may be accepted: one timer for all rooms, and no more reads than the bucket allows. */
  #lookAgain(): void {
    if (this.#again !== undefined || this.options.signal.aborted) return;
    this.#again = setTimeout(() => {
      this.#again = undefined;
      void this.look();
    }, this.#againAfterMs);
  }
}
