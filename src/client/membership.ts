import { UnibusError } from "../wire/errors.ts";
import type { RoomRole } from "../wire/statement.ts";
import type { Directory, Found } from "./directory.ts";
import type { RoomChanges } from "./room-changes.ts";
import type { RoomTrust } from "./trust.ts";
import type { VerifiedMember } from "./verified-room.ts";

/** Who is in a room, and the changes that an owner makes to that. */
export class Membership {
  constructor(
    private readonly trust: RoomTrust,
    private readonly changes: RoomChanges,
    private readonly directory: Directory,
  ) {}

  /** The members of now. `left` are those whom an owner has to sign out. Errors: room_forked. */
  get present(): readonly VerifiedMember[] {
    return this.trust.room.present;
  }

  /**
   * Adds peers by handle, key or endpoint: they read from now on.
   * Errors: not_found, conflict for one who is in or a handle that several have; forbidden for a handle that means
   * somebody else than at its first use, until `directory.approve` has said that this is right.
   */
  async add(who: string | readonly string[], signal?: AbortSignal): Promise<void> {
    const found = await this.#find(typeof who === "string" ? [who] : who, signal);
    const peers = found.map(({ keys, endpoint }) => {
      if (keys !== null) return keys;
      throw new UnibusError("conflict", `${endpoint} has brought no kex key yet (ask them to connect once)`);
    });
    await this.changes.add(peers, signal);
  }

  /** Takes a member out, into a new epoch whose key they do not get. Errors: not_found, forbidden, conflict. */
  async kick(who: string, signal?: AbortSignal): Promise<void> {
    await this.changes.kick(await this.#memberOf(who, signal), signal);
  }

  /** Makes a member an owner, or no owner. Errors: not_found, forbidden, conflict for the last owner. */
  async setRole(who: string, role: RoomRole, signal?: AbortSignal): Promise<void> {
    await this.changes.setRole(await this.#memberOf(who, signal), role, signal);
  }

  /** Begins a new epoch with a new key, and signs out who left. Errors: forbidden. */
  async rekey(signal?: AbortSignal): Promise<void> {
    await this.changes.rekey(signal);
  }

  async #find(who: readonly string[], signal: AbortSignal | undefined): Promise<Found[]> {
    const found = await this.directory.find(who, signal);
    const changed = found.find(({ pinned }) => pinned !== null);
    if (changed === undefined) return found;
    throw new UnibusError(
      "forbidden",
      `${changed.handle} is another user than at first: ${changed.endpoint}, before ${changed.pinned} (ask them, then approve it)`,
    );
  }

  async #memberOf(who: string, signal: AbortSignal | undefined): Promise<string> {
    if (this.present.some(({ endpoint }) => endpoint === who)) return who;
    const named = this.present.filter(({ handle, sign_pub }) => handle === who || sign_pub === who.toLowerCase());
    const [only] = named;
    if (named.length === 1 && only !== undefined) return only.endpoint;
    if (named.length > 1) {
      const endpoints = named.map(({ endpoint }) => endpoint).join(", ");
      throw new UnibusError("conflict", `several members are ${who}: ${endpoints} (name one by its endpoint)`);
    }
    const [found] = await this.#find([who], signal);
    return found?.endpoint ?? who;
  }
}
