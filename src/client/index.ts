/** The client of unibus, for Bun, Node and browsers. Published as `unibus/client`. */
import { openState } from "#state";
import { Bus } from "./bus.ts";
import type { ConnectOptions } from "./connect-options.ts";
import { checkOptions, connectChecks, connectHints } from "./option-checks.ts";
import { MemoryState } from "./state.ts";

export { type ErrorCode, isUnibusError, UnibusError } from "../wire/errors.ts";
export {
  fingerprintWords,
  parseFingerprint,
  parseRoomLink,
  type RoomLink,
  userFingerprint,
} from "../wire/fingerprint.ts";
export type { BlobRef, DropReason } from "../wire/frame.ts";
export type { Policy, RoomRole } from "../wire/statement.ts";
export type { Invitation } from "./acceptances.ts";
export { Bus } from "./bus.ts";
export type { BusEvents } from "./bus-events.ts";
export type { ConnectOptions } from "./connect-options.ts";
export type { DirectoryPage, Found, PageOptions, Peer } from "./directory.ts";
export type { Durable, DurableOptions } from "./durable.ts";
export { generateIdentity, Identity, identityText, parseIdentity } from "./identity.ts";
export { type JoinLink, parseJoinLink } from "./join-link.ts";
export type { KeyLifetime } from "./key-age.ts";
export type { AddOptions } from "./membership.ts";
export { Message, type MessageKind } from "./message.ts";
export { modes } from "./modes.ts";
export type { OlderChain, Readmitted } from "./older-chain.ts";
export type { OwnerConflict } from "./owner-check.ts";
export type { SendOptions } from "./publisher.ts";
export { register } from "./register.ts";
export type { RoomRepair } from "./repair.ts";
export type { Room, RoomStats } from "./room.ts";
export type { StoredBlob } from "./room-blobs.ts";
export type { RoomEntry } from "./room-list.ts";
export type { HistoryPage, Messages, ReadOptions } from "./room-reader.ts";
export type { SayOptions, Sent } from "./saying.ts";
export { type ClientState, MemoryState, type StatePlace } from "./state.ts";
export type { BusStatus, Reconnecting } from "./status.ts";
export { identityFromWords, newWords } from "./wallet.ts";

/** The options of `connect`: one or more addresses, an identity, and where to keep the client's state. */
export type ClientOptions = Omit<ConnectOptions, "urls" | "state" | "ownClock"> & {
  /** The address of the bus. */
  readonly url?: string;
  /** Several addresses of one bus, the preferred one first. */
  readonly urls?: readonly string[];
  /**
   * A folder for this identity only (in a browser: the name of a database). It pins versions, owners and handles, so
   * that the server cannot roll them back. Or `memory`, which forgets them when the program ends.
   */
  readonly state: string | "memory";
};

/**
 * Connects to a bus.
 * Errors: invalid for a wrong address or option, which it names; clock_skew if the clocks differ too much; unavailable
 * if no address answers; unauthenticated if the key does not belong to a user.
 */
export async function connect(given: ClientOptions): Promise<Bus> {
  checkOptions("connect", given, connectChecks, connectHints);
  const { url, urls = [], state, ...options } = given;
  const all = url === undefined ? urls : [url, ...urls];
  const memory = state === "memory" ? new MemoryState() : openState({ folder: state, bus: all[0] ?? "" });
  return Bus.connect({ ...options, urls: all, state: memory });
}
