import type { ControlPlane } from "../transport/control.ts";
import type { RoomTrust } from "../trust/room-trust.ts";
import type { Conversation } from "./conversation.ts";
import type { DirectWatch } from "./direct-watch.ts";
import type { Eraser } from "./erasing.ts";
import type { KeptChain } from "./kept-chain.ts";
import type { Receiver } from "./receiver.ts";
import type { RoomBlobs } from "./room-blobs.ts";
import type { IntegrityWatch } from "./room-integrity.ts";
import type { RoomReader } from "./room-reader.ts";
import type { RoomSender } from "./room-sender.ts";
import type { Settling } from "./settling.ts";

/** The parts of a room that the client uses inside. Applications never see them. */
export interface RoomParts {
  readonly reader: RoomReader;
  readonly sender: RoomSender;
  readonly eraser: Eraser;
  readonly blobs: RoomBlobs;
  readonly direct: DirectWatch;
  /** What an owner's client does by itself. */
  readonly settling: Settling;
  readonly trust: RoomTrust;
  readonly control: ControlPlane;
  readonly receiver: Receiver;
  readonly watch: IntegrityWatch;
  readonly keptChain: KeptChain | null;
}

const parts = new WeakMap<Conversation, RoomParts>();

/** Registers the parts of a room: its constructor does. */
export function keepParts(room: Conversation, own: RoomParts): void {
  parts.set(room, own);
}

/** The parts of a room. */
export function partsOf(room: Conversation): RoomParts {
  return parts.get(room) as RoomParts;
}
