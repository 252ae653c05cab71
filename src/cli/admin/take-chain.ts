import { InvalidArgumentError } from "commander";
import { isUlid } from "../../wire/names.ts";
import { asPeer, type PeerOptions } from "../peer/peer.ts";

/**
 * Admits one contested chain of a room over the API, as an admin: `unibus way-back take --url`. `room`: its id. `hash`:
 * that of the chain's newest statement. Errors: those of commander for another name; those of the API.
 */
export async function takeChainAsAdmin(room: string, hash: string, options: PeerOptions): Promise<void> {
  if (!isUlid(room)) throw new InvalidArgumentError("With --url, give the room's id.");
  await asPeer(options, (bus, signal) => bus.control.takeChain(room, hash, signal));
}
