import { UnibusError } from "../../wire/errors.ts";
import { isUlid } from "../../wire/names.ts";
import { findRoom } from "../rooms/room-list.ts";
import { KeptRoom } from "./kept-room.ts";
import { type OlderChain, readOlderChain } from "./older-chain.ts";
import { planRepair, type RoomRepair } from "./repair.ts";
import type { RoomTrustDeps } from "./room-trust.ts";

/**
 * Handles rooms that a server rolled back because it was restored from an older backup. Source: docs/protocol/rooms.md.
 */
export class Recovery {
  constructor(private readonly deps: RoomTrustDeps) {}

  /**
   * Finds what the server lost of a room, given by id or subject. `run` of the result restores it.
   * Errors: not_found, forbidden, gone, conflict.
   */
  async repair(name: string, signal?: AbortSignal): Promise<RoomRepair> {
    return planRepair(await this.#idOf(name, signal), this.deps, signal);
  }

  /**
   * Reads the server's older chain of a room. `accept` of the result follows it from now on.
   * Errors: room_forked for another room or an invalid chain; not_found, conflict.
   */
  async older(name: string, signal?: AbortSignal): Promise<OlderChain> {
    return readOlderChain(await this.#idOf(name, signal), this.deps, signal);
  }

  /** A room's id, even if the server no longer knows the room but this client has stored it. */
  async #idOf(name: string, signal: AbortSignal | undefined): Promise<string> {
    if (isUlid(name)) return name;
    const { control, state } = this.deps;
    const kept: string[] = [];
    for (const roomId of await state.rooms()) {
      if ((await new KeptRoom(roomId, state).version())?.subject === name) kept.push(roomId);
    }
    const [only] = kept;
    if (only !== undefined && kept.length === 1) return only;
    const listed = await findRoom(control, name, signal);
    if (listed !== null) return listed.id;
    const fix = kept.length === 0 ? "give its id" : `give its id: ${kept.join(", ")}`;
    throw new UnibusError("not_found", `no room or several rooms are called ${name} (${fix})`);
  }
}
