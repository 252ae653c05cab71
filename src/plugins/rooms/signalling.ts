import type { GrantableMembership } from "../../contracts/rooms.ts";
import type { Membership, RoomStore } from "../../contracts/store.ts";
import { LruCache } from "../../lib/lru-cache.ts";
import { sideBySide } from "../../lib/side-by-side.ts";

/** How many rooms are remembered. */
const roomsMax = 100_000;

/**
 * Decides which rooms have signals: those with at most `membersMax` members, 0 for none. A room is counted once for
 * each revision, because everything that changes its members advances that.
 */
export class Signalling {
  readonly #known = new LruCache<{ readonly revision: number; readonly isSmall: boolean }>(roomsMax);

  constructor(
    private readonly store: Pick<RoomStore, "countMembers">,
    private readonly membersMax: number,
  ) {}

  /** Marks the memberships in rooms with signals. Errors: unavailable. */
  mark(memberships: readonly Membership[]): Promise<GrantableMembership[]> {
    return sideBySide(memberships, async (membership) => ({ ...membership, signals: await this.#isSmall(membership) }));
  }

  async #isSmall({ room: { roomId, revision } }: Membership): Promise<boolean> {
    if (this.membersMax === 0) return false;
    const known = this.#known.get(roomId);
    if (known?.revision === revision) return known.isSmall;
    const isSmall = (await this.store.countMembers(roomId)) <= this.membersMax;
    this.#known.set(roomId, { revision, isSmall });
    return isSmall;
  }
}
