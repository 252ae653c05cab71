/**
 * Decides which rooms this client settles, and when: rooms that this peer owns, and created or accepted.
 * Source: docs/protocol/rooms.md, docs/protocol/logins.md.
 */

import { pause } from "../transport/wait.ts";
import type { Room } from "./room.ts";
import { partsOf } from "./room-parts.ts";

/** How long closing waits for rooms that are being settled, in milliseconds. */
const graceMs = 5_000;

/** The fields of a listed room that matter here. */
interface ListedRoom {
  readonly id: string;
  readonly role: "owner" | "member";
  readonly rekeyPending: boolean;
  /** Undefined if the server does not know acceptance. */
  readonly accepted?: boolean;
}

interface SettlementsDeps {
  readonly open: (roomId: string) => Promise<Room>;
  /** Reads the list of this peer's rooms, and passes it to `listed`. */
  readonly list: () => Promise<unknown>;
  readonly onTrouble: (error: unknown) => void;
}

/** The settlements of one bus. */
export class Settlements {
  /** Listed rooms that this peer owns, and created or accepted. */
  readonly #owned = new Set<string>();
  readonly #running = new Set<Promise<void>>();

  constructor(private readonly deps: SettlementsDeps) {}

  /** Takes the list of this peer's rooms, and returns those with a pending rekey. */
  listed(rooms: readonly ListedRoom[]): string[] {
    this.#owned.clear();
    for (const { id, role, accepted } of rooms) if (role === "owner" && accepted !== false) this.#owned.add(id);
    return rooms.filter(({ id, rekeyPending }) => rekeyPending && this.#owned.has(id)).map(({ id }) => id);
  }

  /** Settles a room by its id. For an unaccepted room it reads one list and does nothing else. */
  async settle(roomId: string): Promise<void> {
    try {
      if (await this.isMine(roomId)) await this.settleRoom(await this.deps.open(roomId));
    } catch (error) {
      this.deps.onTrouble(error);
    }
  }

  /** Whether this peer owns a room, and created or accepted it. Errors: those of the list. */
  async isMine(roomId: string): Promise<boolean> {
    if (!this.#owned.has(roomId)) await this.deps.list();
    return this.#owned.has(roomId);
  }

  /** Settles an open room. Never fails. */
  async settleRoom(room: Room): Promise<void> {
    const running: Promise<void> = partsOf(room)
      .settling.settleSoon()
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
    await running;
  }

  /** Resolves when no room is being settled, or after a timeout. An interrupted change would have to be made again. */
  async ended(): Promise<void> {
    if (this.#running.size > 0) await Promise.race([Promise.all(this.#running), pause(graceMs, undefined)]);
  }
}
