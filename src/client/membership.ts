import { UnibusError } from "../wire/errors.ts";
import type { RoomRole } from "../wire/statement.ts";
import { type Directory, type Found, meant } from "./directory.ts";
import type { RoomChanges } from "./room-changes.ts";
import type { RoomTrust } from "./trust.ts";
import type { VerifiedMember } from "./verified-room.ts";

/** How peers are added to a room. */
export interface AddOptions {
  /** Whether a new key is made first, so that they read only what is said from now on. Default: false. */
  readonly freshKey?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Who is in a room, and the changes that an owner makes to that. */
export class Membership {
  constructor(
    private readonly trust: RoomTrust,
    private readonly changes: RoomChanges,
    private readonly directory: Directory,
    /** Throws where nothing may be sealed for this room yet. */
    private readonly guard: () => void,
  ) {}

  /** The members of now. `left` are those whom an owner has to sign out. Errors: room_forked. */
  get present(): readonly VerifiedMember[] {
    return this.trust.room.present;
  }

  /**
   * Adds peers by handle, key or endpoint. They can read what is said under the room's present key, also what was said
   * before they came; in a room without `encrypt`, all that it keeps. With `freshKey` a new key is made first, so that
   * they read only what is said from now on; one who was a member before always gets a new key.
   * Errors: not_found, conflict for one who is in or a handle that several have; forbidden for a handle that means
   * somebody else than at its first use, until `directory.approve` has said that this is right.
   */
  async add(who: string | readonly string[], { freshKey, signal }: AddOptions = {}): Promise<void> {
    this.guard();
    const found = await this.#find(typeof who === "string" ? [who] : who, signal);
    const peers = found.map(({ keys, endpoint }) => {
      if (keys !== null) return keys;
      throw new UnibusError("conflict", `${endpoint} has brought no kex key yet (ask them to connect once)`);
    });
    await this.changes.add(peers, { freshKey, signal });
  }

  /**
   * Takes a member out, into a new epoch whose key they do not get.
   * Errors: not_found, conflict; forbidden, also for a handle that means somebody else than at its first use.
   */
  async kick(who: string, signal?: AbortSignal): Promise<void> {
    this.guard();
    await this.changes.kick(await this.#memberOf(who, signal), signal);
  }

  /**
   * Makes a member an owner, or no owner.
   * Errors: not_found; conflict for the last owner; forbidden, also for a handle that means somebody else than at its
   * first use.
   */
  async setRole(who: string, role: RoomRole, signal?: AbortSignal): Promise<void> {
    this.guard();
    await this.changes.setRole(await this.#memberOf(who, signal), role, signal);
  }

  /** Begins a new epoch with a new key, and signs out who left. Errors: forbidden. */
  async rekey(signal?: AbortSignal): Promise<void> {
    this.guard();
    await this.changes.rekey(signal);
  }

  async #find(who: readonly string[], signal: AbortSignal | undefined): Promise<Found[]> {
    const found = await this.directory.find(who, signal);
    for (const one of found) refuseChanged(one);
    return found;
  }

  async #memberOf(who: string, signal: AbortSignal | undefined): Promise<string> {
    const member = meant(who, this.present);
    if (member === null) return (await this.#find([who], signal))[0]?.endpoint ?? who;
    const { endpoint, handle } = member;
    refuseChanged({ endpoint, handle, pinned: await this.directory.pinned(who, endpoint) });
    // Somebody outside the room may have the same look.
    await this.directory.checkAlone(who, endpoint, signal);
    return endpoint;
  }
}

/** Errors: forbidden for a handle that means somebody else than at its first use: the bus chooses who has it. */
function refuseChanged({ handle, endpoint, pinned }: Pick<Found, "handle" | "endpoint" | "pinned">): void {
  if (pinned === null) return;
  const change = `${endpoint}, before ${pinned}`;
  throw new UnibusError("forbidden", `${handle} is another user than at first: ${change} (ask them, then approve it)`);
}
