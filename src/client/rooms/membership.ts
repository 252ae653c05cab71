import { UnibusError } from "../../wire/errors.ts";
import type { RoomRole } from "../../wire/statement.ts";
import { type Directory, type Found, meant } from "../trust/directory.ts";
import type { RoomTrust } from "../trust/room-trust.ts";
import type { VerifiedMember } from "../trust/verified-room.ts";
import type { RoomChanges } from "./room-changes.ts";

/** The options of `add`. */
export interface AddOptions {
  /** Rotates the key first, so that new members can read only messages sent from now on. Default: false. */
  readonly freshKey?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The members of a room, and the changes that an owner can make to them. */
export class Membership {
  constructor(
    private readonly trust: RoomTrust,
    private readonly changes: RoomChanges,
    private readonly directory: Directory,
    /** Throws while nothing may be sealed for this room. */
    private readonly guard: () => void,
  ) {}

  /** The current members. An owner still has to sign the removal of those marked `left`. Errors: room_forked. */
  get present(): readonly VerifiedMember[] {
    return this.trust.room.present;
  }

  /**
   * Adds users by handle, key or endpoint. They can read messages sealed with the room's current key, including earlier
   * ones; in a room without `encrypt`, the whole history. With `freshKey` the key is rotated first, so that they read
   * only messages sent from now on. A former member always gets a new key.
   * Errors: not_found; conflict for a current member or an ambiguous handle; forbidden if the handle belonged to
   * another user at its first use, until `directory.approve` confirms the change.
   */
  async add(who: string | readonly string[], { freshKey, signal }: AddOptions = {}): Promise<void> {
    this.guard();
    const found = await this.#find(typeof who === "string" ? [who] : who, signal);
    const peers = found.map(({ keys, endpoint }) => {
      if (keys !== null) return keys;
      throw new UnibusError("conflict", `${endpoint} has not published a kex key yet (ask them to connect once)`);
    });
    await this.changes.add(peers, { freshKey, signal });
  }

  /**
   * Removes a member and starts a new epoch, whose key the member does not get.
   * Errors: not_found, conflict; forbidden, also if the handle belonged to another user at its first use.
   */
  async kick(who: string, signal?: AbortSignal): Promise<void> {
    this.guard();
    await this.changes.kick(await this.#memberOf(who, signal), signal);
  }

  /**
   * Makes a member an owner, or an owner a plain member.
   * Errors: not_found; conflict for the last owner; forbidden, also if the handle belonged to another user at its first
   * use.
   */
  async setRole(who: string, role: RoomRole, signal?: AbortSignal): Promise<void> {
    this.guard();
    await this.changes.setRole(await this.#memberOf(who, signal), role, signal);
  }

  /** Starts a new epoch with a new key, and signs the removal of members who left. Errors: forbidden. */
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
    // A user outside the room may have a handle that looks the same.
    await this.directory.checkAlone(who, endpoint, signal);
    return endpoint;
  }
}

/**
 * Rejects a handle that belonged to another user at its first use, because the server assigns handles.
 * Errors: forbidden.
 */
export function refuseChanged({ handle, endpoint, pinned }: Pick<Found, "handle" | "endpoint" | "pinned">): void {
  if (pinned === null) return;
  const change = `${endpoint}, before ${pinned}`;
  throw new UnibusError(
    "forbidden",
    `${handle} now means another user than at first: ${change} (ask them, then approve it)`,
  );
}
