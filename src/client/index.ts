/** The client of unibus, for Bun, Node and browsers. Published as `unibus/client`. */
import { openState } from "#state";
import { Bus } from "./bus.ts";
import type { ConnectOptions } from "./connect-options.ts";
import { checkOptions, connectChecks, connectHints } from "./option-checks.ts";
import { MemoryState } from "./trust/state.ts";

export type { AdminConnection, AdminRoom, AdminUsage } from "../wire/admin-api.ts";
export type { ChainEntry, StatementTag } from "../wire/chain-entry.ts";
export type { ContentKind, EnvelopeHeader, MessageKind } from "../wire/envelope.ts";
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
export type {
  Admin,
  AdminInvites,
  AdminListOptions,
  AdminUser,
  AdminUsers,
  CreatedInvite,
  InviteToCreate,
  PendingInvite,
  UserToAdd,
} from "./admin.ts";
export { Bus } from "./bus.ts";
export type { BusEvents } from "./bus-events.ts";
export type { ConnectOptions } from "./connect-options.ts";
export {
  type BrowserIdentityOptions,
  createBrowserIdentity,
  deleteBrowserIdentity,
  openBrowserIdentity,
} from "./crypto/browser-identity.ts";
export { generateIdentity, Identity, identityOf, identityText, parseIdentity } from "./crypto/identity.ts";
export type { Signer, Soon } from "./crypto/signer.ts";
export { identityFromWords, newWords } from "./crypto/wallet.ts";
export { type JoinLink, parseJoinLink } from "./join-link.ts";
export { register } from "./register.ts";
export type { Invitation } from "./rooms/acceptances.ts";
export type { Conversation, Deleted } from "./rooms/conversation.ts";
export type { DirectAddition, DirectPeer } from "./rooms/direct-watch.ts";
export type { Durable, DurableOptions } from "./rooms/durable.ts";
export type { Erasable } from "./rooms/erasing.ts";
export type { FileReadOptions, FileSaveOptions, ReceivedFile } from "./rooms/file-receiving.ts";
export type { FileInput, FileOptions, FileProgress } from "./rooms/file-sending.ts";
export type { Explanation, IntegrityFinding } from "./rooms/integrity.ts";
export type { LiveTimeline, TimelineEvents, TimelineOptions } from "./rooms/live-timeline.ts";
export type { AddOptions } from "./rooms/membership.ts";
export { Message } from "./rooms/message.ts";
export { modes } from "./rooms/modes.ts";
export type { RoomFacts } from "./rooms/owners-word.ts";
export type { Presence, PresenceEvents } from "./rooms/presence.ts";
export type { MemberPresence } from "./rooms/presence-state.ts";
export type { SendOptions } from "./rooms/publisher.ts";
export type { Room, RoomStats } from "./rooms/room.ts";
export type { StoredBlob } from "./rooms/room-blobs.ts";
export type { MemberChange, RoomEvents, SignedChange } from "./rooms/room-events.ts";
export type { ReportedFinding, RoomIntegrity } from "./rooms/room-integrity.ts";
export type { RoomEntry } from "./rooms/room-list.ts";
export type { HistoryOptions, HistoryPage, Messages, ReadOptions } from "./rooms/room-reader.ts";
export type { SayOptions, Sent } from "./rooms/saying.ts";
export type { SignalSwitch } from "./rooms/signals.ts";
export { Timeline, type TimelineChange, type Title } from "./rooms/timeline.ts";
export type { Deletion, Reaction, TimelineItem, TimelineMessage } from "./rooms/timeline-item.ts";
export type { BusStatus, Reconnecting } from "./status.ts";
export type { DirectoryPage, Found, PageOptions, Peer } from "./trust/directory.ts";
export type { KeyLifetime } from "./trust/key-age.ts";
export type { OlderChain, Readmitted } from "./trust/older-chain.ts";
export type { OwnerConflict } from "./trust/owner-check.ts";
export type { RoomRepair } from "./trust/repair.ts";
export { type ClientState, MemoryState, type StatePlace } from "./trust/state.ts";

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
