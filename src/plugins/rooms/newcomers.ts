/**
 * Rechecks users who have just become members. They were read before the change of the room was stored, so a parallel
 * request may have revoked, deleted or renamed one of them without seeing the new membership. Adding a member therefore
 * reads the users again afterwards: one of the two requests always sees the other, on one node or several.
 */
import type { Notices } from "../../contracts/notices.ts";
import type { Log } from "../../contracts/plugin.ts";
import { changeStay, isOwnerIn, leaving, renamed } from "../../contracts/stay-rules.ts";
import type { RoomStore, StayRecord, UserRecord, UserStore } from "../../contracts/store.ts";
import { usersAt } from "./users-at.ts";

/** Interval between retries of the check, in milliseconds, and the maximum number of retries. */
const retryMs = 1_000;
const attemptsMax = 600;

/** The dependencies of `Newcomers`. */
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
   * Marks new members who are no longer active users as having left, and updates changed handles. The room's change is
   * already stored: if the store is unavailable, the check continues in the background.
   */
  async check(roomId: string, added: readonly Newcomer[]): Promise<void> {
    try {
      await this.#check(roomId, added);
    } catch (error) {
      const { log, signal } = this.parts;
      if (!signal.aborted) log.warn("could not check new members; retrying", { room_id: roomId, cause: error });
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
      const { endpoint } = stay;
      const rule = this.#ruleOf(found.get(endpoint) ?? null, stay);
      const changed = rule && (await changeStay(store, { roomId, endpoint }, rule));
      if (changed && changed.leftAt !== null) hasLeft = true;
    }
    if (!hasLeft) return;
    const owners = (await store.listStays(roomId)).filter(isOwnerIn).map(({ endpoint }) => endpoint);
    notices.notify(owners, "rekey_pending", roomId);
  }

  #ruleOf(user: UserRecord | null, { handle }: Newcomer) {
    if (user?.status !== "active") return leaving(this.parts.now());
    return user.handle === handle ? null : renamed(user.handle);
  }
}
