import { UnibusError } from "../wire/errors.ts";
import { isUlid } from "../wire/names.ts";
import { KeptRoom } from "./kept-room.ts";
import { type OlderChain, readOlderChain } from "./older-chain.ts";
import { planRepair, type RoomRepair } from "./repair.ts";
import { findRoom } from "./room-list.ts";
import type { TrustParts } from "./trust.ts";

/** What to do about a room that went back, on a bus that was restored from an older backup. Source: spec 3. */
export class Recovery {
  constructor(private readonly parts: TrustParts) {}

  /**
   * Finds out what the bus has lost of a room, by its id or its subject; `run` of what this gives brings it back.
   * Errors: not_found, forbidden, gone, conflict.
   */
  async repair(name: string, signal?: AbortSignal): Promise<RoomRepair> {
    return planRepair(await this.#idOf(name, signal), this.parts, signal);
  }

  /**
   * Reads the older chain of a bus; `accept` of what this gives follows it from now on.
   * Errors: room_forked for another room or a chain that does not hold; not_found, conflict.
   */
  async older(name: string, signal?: AbortSignal): Promise<OlderChain> {
    return readOlderChain(await this.#idOf(name, signal), this.parts, signal);
  }

  /** A room's id: also of one that the bus does not know any more, by what this client has kept. */
  async #idOf(name: string, signal: AbortSignal | undefined): Promise<string> {
    if (isUlid(name)) return name;
    const { control, state } = this.parts;
    const kept: string[] = [];
    for (const roomId of await state.rooms()) {
      if ((await new KeptRoom(roomId, state).version())?.subject === name) kept.push(roomId);
    }
    const [only] = kept;
    if (only !== undefined && kept.length === 1) return only;
    const listed = await findRoom(control, name, signal);
    if (listed !== null) return listed.id;
    const fix = kept.length === 0 ? "name its id" : `name its id: ${kept.join(", ")}`;
    throw new UnibusError("not_found", `there is no one room ${name} (${fix})`);
  }
}
