/** What a `Room` needs of the client. */
import type { Refused } from "../crypto/frames.ts";
import type { ConnectionManager } from "../transport/connection-manager.ts";
import type { ControlPlane } from "../transport/control.ts";
import type { Inboxes } from "../transport/inboxes.ts";
import type { Directory } from "../trust/directory.ts";
import type { KeyLifetime } from "../trust/key-age.ts";
import type { OwnerConflict } from "../trust/owner-check.ts";
import type { RoomKeys } from "../trust/room-keys.ts";
import type { RoomTrust } from "../trust/room-trust.ts";
import type { ClientState } from "../trust/state.ts";
import type { DurableDeps } from "./durable.ts";
import type { Publisher } from "./publisher.ts";
import type { Room } from "./room.ts";
import type { RoomChanges } from "./room-changes.ts";
import type { Lost } from "./room-subscription.ts";
import type { Signals } from "./signals.ts";

/** The dependencies of a `Room`. */
export interface RoomDeps {
  readonly trust: RoomTrust;
  readonly keys: RoomKeys;
  readonly changes: RoomChanges;
  readonly control: ControlPlane;
  readonly directory: Directory;
  readonly replies: Inboxes;
  readonly data: () => Promise<{ readonly live: ConnectionManager; readonly publisher: Publisher }>;
  /** Makes sure that the room is accepted before it is used. Errors: forbidden, gone, quota. */
  readonly enter: (signal: AbortSignal | undefined) => Promise<void>;
  readonly signals: Signals;
  /** Subscribes to the room's subject, or unsubscribes. */
  readonly follow: (room: Room, follows: boolean) => Promise<void>;
  readonly state: ClientState;
  readonly keyLifetime: KeyLifetime;
  /** Whether this client goes on with the chain of an earlier run. */
  readonly keepsChains: boolean;
  /** Whether this client, as an owner, removes members who left and replaces old keys by itself. */
  readonly settles: boolean;
  /** Whether this peer created or accepted the room. */
  readonly isAccepted: () => Promise<boolean>;
  /** The same, as far as it is known without asking the server. */
  readonly isInUse: () => boolean;
  /** Called once for each set of members who left and whose removal no owner has signed. */
  readonly onPending: (room: Room, left: readonly string[]) => void;
  readonly deliver: DurableDeps["deliver"];
  /** Owners who may be mistaken for another user, and are not approved. */
  readonly ownerConflicts: readonly OwnerConflict[];
  readonly onDrop: (room: Room, refused: Refused) => void;
  readonly onLost: (room: Room, why: Lost) => void;
  readonly onTrouble: (error: unknown) => void;
  readonly signal: AbortSignal;
}
