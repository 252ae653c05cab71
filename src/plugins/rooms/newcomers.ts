/**
 * Users who have just become members. They were looked up before the change of the room was stored, so they may have
 * been revoked, deleted or renamed in between, by somebody who did not see them in the room yet. Whoever adds a member
 * therefore looks again afterwards: one of the two sees the other, on one node or on several.
 */
import type { Notices } from "../../contracts/notices.ts";
import type { Log } from "../../contracts/plugin.ts";
import { isOwnerIn, leaving, renamed } from "../../contracts/stay-rules.ts";
import type { RoomStore, StayRecord, UserRecord, UserStore } from "../../contracts/store.ts";
import { usersAt } from "./users-at.ts";

/** How long a look at the users waits before it is tried again, in milliseconds, and how often it is tried. */
const retryMs = 1_000;
const attemptsMax = 600;

/** What newcomers are checked with. */
export interface NewcomerParts {
  readonly store: RoomStore;
  readonly users: UserStore;
  readonly notices: Notices;
  readonly log: Log;
  readonly now: () => number;
  readonly signal: AbortSignal;
}

type Newcomer = Pick<StayRecord, "endpoint" | "handle">;

/** Checks new members against their users. */
export class Newcomers {
  constructor(private readonly parts: NewcomerParts) {}

  /**
   * Marks those as left who are not active users any more, and gives the others the handle that they have by now. The
   * change of the room is stored already: where the store does not answer, this goes on beside the request.
   */
  async check(roomId: string, added: readonly Newcomer[]): Promise<void> {
    try {
      await this.#check(roomId, added);
    } catch (error) {
      const { log, signal } = this.parts;
      if (!signal.aborted) log.warn("new members could not be checked yet", { room_id: roomId, cause: error });
      void this.#retry(roomId, added);
    }
  }

  async #retry(roomId: string, added: readonly Newcomer[]): Promise<void> {
    const { signal } = this.parts;
    for (let tries = 0; tries < attemptsMax && !signal.aborted; tries++) {
      await new Promise((resolve) => setTimeout(resolve, retryMs).unref());
      const isDone = await this.#check(roomId, added).then(
        () => true,
        () => false,
      );
      if (isDone) return;
    }
  }

  async #check(roomId: string, added: readonly Newcomer[]): Promise<void> {
    const { store, users, notices } = this.parts;
    const found = await usersAt(
      users,
      added.map(({ endpoint }) => endpoint),
    );
    let hasLeft = false;
    for (const stay of added) {
      const rule = this.#ruleOf(found.get(stay.endpoint) ?? null, stay);
      const changed = rule && (await store.changeStay(roomId, stay.endpoint, rule));
      if (changed && changed.leftAt !== null) hasLeft = true;
    }
    if (!hasLeft) return;
    const owners = (await store.listStays(roomId)).filter(isOwnerIn).map(({ endpoint }) => endpoint);
    notices.tell(owners, "rekey_pending", roomId);
  }

  #ruleOf(user: UserRecord | null, { handle }: Newcomer) {
    if (user?.status !== "active") return leaving(this.parts.now());
    return user.handle === handle ? null : renamed(user.handle);
  }
}
