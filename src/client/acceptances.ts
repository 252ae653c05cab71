/**
 * Which of its rooms this peer takes part in. Whoever adds a peer to a room does not ask first: so a room counts on the
 * data plane only once its member accepted it. This file accepts a room when the application uses it, accepts what the
 * application's trusted adders offer, and reports what else is offered. Source: spec 9.
 */
import { TokenBucket } from "../lib/token-bucket.ts";
import { UnibusError } from "../wire/errors.ts";
import type { ControlPlane } from "./control.ts";
import { type RoomEntry, roomPages } from "./room-list.ts";
import { OneAtATime, waitFor } from "./wait.ts";

/** How long a room is not accepted again because the application uses it, in milliseconds. Source: spec 9. */
const againAfterMs = 30_000;
/** How many rooms that were accepted or offered are remembered. */
const rememberedMax = 20_000;
/** Pages of offers that are read: this many at once, then one a second. */
const offerReads = { burst: 20, perSecond: 1 } as const;

/** A room that somebody added this peer to. */
export interface Invitation {
  readonly roomId: string;
  /** It is the bus's word until the room is opened. */
  readonly subject: string;
  /** The endpoint of the owner who added this peer; null where the bus did not record it. */
  readonly addedBy: string | null;
  /** Whether it was accepted already, because `acceptFrom` names who added this peer. */
  readonly accepted: boolean;
}

/** What acceptance needs. */
export interface AcceptancesOptions {
  readonly control: ControlPlane;
  /** Endpoints whose rooms are accepted as soon as this peer is added to them. */
  readonly acceptFrom: ReadonlySet<string>;
  /** Connects to the data plane where there is no connection yet. */
  readonly connect: () => Promise<unknown>;
  /** Connects again where there is a connection: its permissions are those of its login. */
  readonly reconnect: () => Promise<void>;
  /** Whether anybody listens for invitations. */
  readonly isHeard: () => boolean;
  readonly onInvited: (invitation: Invitation) => void;
  readonly onTrouble: (error: unknown) => void;
  readonly signal: AbortSignal;
}

/** Adds to a set, whose oldest entry goes where it is full. */
function remember(seen: Set<string>, id: string): void {
  seen.delete(id);
  seen.add(id);
  if (seen.size > rememberedMax) for (const oldest of seen) return void seen.delete(oldest);
}

/** The rooms that this peer accepted, and those that it is offered. */
export class Acceptances {
  /** Accepted rooms by id, as they were last read, and whether the grant holds them. */
  #accepted: ReadonlyMap<string, { readonly live: boolean }> = new Map();
  /** Rooms that a list said are not accepted. */
  readonly #offered = new Set<string>();
  readonly #invited = new Set<string>();
  /** When a room was last accepted because it was used, on the clock that never jumps. */
  readonly #acceptedAtMs = new Map<string, number>();
  readonly #entering = new Map<string, Promise<void>>();
  readonly #offerReads = new TokenBucket(offerReads.burst, offerReads.perSecond);
  readonly #looking = new OneAtATime(() => this.#readOffers());

  constructor(private readonly options: AcceptancesOptions) {}

  /** Takes up what a list of rooms says. */
  noteListed(entries: readonly RoomEntry[]): void {
    for (const { id, accepted } of entries) {
      if (accepted) this.#offered.delete(id);
      else remember(this.#offered, id);
    }
  }

  /**
   * Reads the accepted rooms. `grant` is a text that is another one whenever the next login grants something else.
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
   * Makes sure that a room which the application uses is in this peer's grant: accepts it where that is not done.
   * Errors: forbidden, gone; quota for a room that the grant has no place for.
   */
  async enter(roomId: string, signal?: AbortSignal): Promise<void> {
    if (this.#accepted.get(roomId)?.live === true) return;
    const entering = this.#entering.get(roomId) ?? this.#enter(roomId).finally(() => this.#entering.delete(roomId));
    this.#entering.set(roomId, entering);
    await waitFor(entering, signal);
  }

  async #enter(roomId: string): Promise<void> {
    // Connecting reads what is accepted. Where it is known that this room is not, one login is enough.
    if (!this.#offered.has(roomId)) await this.options.connect();
    if (!this.#accepted.has(roomId) && this.#mayAccept(roomId)) await this.accept(roomId);
    if (this.#accepted.get(roomId)?.live !== false) return;
    throw new UnibusError(
      "quota",
      `room ${roomId} does not fit into the permissions of one login, which hold 400 KiB of rooms (leave some rooms)`,
    );
  }

  /** Accepts a room because a person or the application says so. Errors: not_found, forbidden, gone. */
  async accept(roomId: string, signal?: AbortSignal): Promise<void> {
    await this.options.control.acceptRoom(roomId, signal);
    this.#offered.delete(roomId);
    this.#noteAcceptance(roomId);
    await waitFor(this.options.reconnect(), signal);
  }

  /** A peer that is added and removed in a loop accepts, and connects again, at a bounded rate. */
  #mayAccept(roomId: string): boolean {
    const atMs = this.#acceptedAtMs.get(roomId);
    return atMs === undefined || performance.now() - atMs >= againAfterMs;
  }

  #noteAcceptance(roomId: string): void {
    const nowMs = performance.now();
    for (const [id, atMs] of this.#acceptedAtMs) {
      if (nowMs - atMs < againAfterMs && this.#acceptedAtMs.size < rememberedMax) break;
      this.#acceptedAtMs.delete(id);
    }
    this.#acceptedAtMs.delete(roomId);
    this.#acceptedAtMs.set(roomId, nowMs);
  }

  /** Looks for rooms that are offered, where that matters: accepts those of trusted adders, and reports each once. */
  async look(): Promise<void> {
    if (this.options.acceptFrom.size === 0 && !this.options.isHeard()) return;
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
    const isTrusted = addedBy !== null && acceptFrom.has(addedBy);
    if (isTrusted && this.#mayAccept(roomId)) {
      await control.acceptRoom(roomId, signal);
      this.#offered.delete(roomId);
      this.#noteAcceptance(roomId);
      onInvited({ roomId, subject, addedBy, accepted: true });
    } else if (!this.#invited.has(roomId)) onInvited({ roomId, subject, addedBy, accepted: false });
    remember(this.#invited, roomId);
  }
}
