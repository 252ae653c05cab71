/**
 * Direct rooms: finds or makes the room of this peer and one other person. Making one takes three changes (create, add,
 * role), and any of them may be interrupted; the next call completes the room.
 */
import { Mutex } from "../../lib/mutex.ts";
import { toBase64Url } from "../../wire/encoding.ts";
import { hasCode, UnibusError } from "../../wire/errors.ts";
import type { ControlPlane } from "../transport/control.ts";
import type { Directory, Found } from "../trust/directory.ts";
import { KeptRoom } from "../trust/kept-room.ts";
import type { ClientState } from "../trust/state.ts";
import { memberNow } from "../trust/verified-room.ts";
import { isDirectForm, onlyOther } from "./direct-watch.ts";
import { refuseChanged } from "./membership.ts";
import type { Room } from "./room.ts";
import { roomPages } from "./room-list.ts";
import { partsOf } from "./room-parts.ts";

/** The random bytes of a direct room's name: 16 characters. */
const nameBytes = 12;
/** How often a room is completed again after another program of either person changed it. */
const attemptsMax = 3;

interface DirectRoomsDeps {
  readonly control: ControlPlane;
  readonly state: ClientState;
  readonly directory: Directory;
  readonly open: (roomId: string, signal: AbortSignal | undefined) => Promise<Room>;
  readonly create: (subject: string, signal: AbortSignal | undefined) => Promise<Room>;
  /** Records that this peer created or accepted a room: only such a room is direct. */
  readonly noteAccepted: (roomId: string) => void;
}

/** The direct rooms of one bus. */
export class DirectRooms {
  /** Two calls at once must not make two rooms. */
  readonly #one = new Mutex();

  constructor(private readonly deps: DirectRoomsDeps) {}

  /** The room of this peer and the user that a handle, key or endpoint names. Errors: those of `Bus.direct`. */
  async with(who: string, signal: AbortSignal | undefined): Promise<Room> {
    const [peer] = await this.deps.directory.find([who], signal);
    if (peer === undefined)
      throw new UnibusError("not_found", `no user is named ${JSON.stringify(who)} (see the directory)`);
    refuseChanged(peer);
    if (peer.endpoint === this.#me) throw new UnibusError("invalid", "a direct room needs another person (name one)");
    return this.#one.hold(() => this.#with(peer, signal));
  }

  get #me(): string {
    return this.deps.control.identity.endpoint;
  }

  async #with(peer: Found, signal: AbortSignal | undefined): Promise<Room> {
    const { found, unused } = await this.#find(peer.endpoint, signal);
    const name = () => `room.dm-${toBase64Url(crypto.getRandomValues(new Uint8Array(nameBytes)))}`;
    const room = found ?? unused ?? (await this.deps.create(name(), signal));
    await this.#complete(room, peer.endpoint, signal);
    this.deps.noteAccepted(room.id);
    await partsOf(room).direct.remember();
    return room;
  }

  /**
   * The accepted room with a person that has the smallest id, and a room of this peer alone: one whose making was
   * interrupted before another person was added.
   */
  async #find(peer: string, signal: AbortSignal | undefined): Promise<{ found: Room | null; unused: Room | null }> {
    let unused: Room | null = null;
    // Pages are in the order of ids.
    for await (const page of roomPages(this.deps.control, { accepted: true }, signal)) {
      for (const entry of page) {
        if (!entry.accepted || !isDirectForm(entry) || (await this.#isOthers(entry.id, peer))) continue;
        const room = await this.#opened(entry.id, signal);
        if (room === null || !isDirectForm(room.state.state)) continue;
        if (onlyOther(room.state, this.#me)?.endpoint === peer && this.#isUsable(room, peer))
          return { found: room, unused };
        if (room.state.members.size === 1 && room.state.members.has(this.#me)) unused ??= room;
      }
    }
    return { found: null, unused };
  }

  /** Whether this client knows that a room names another person. No line of a member ever goes away. */
  async #isOthers(roomId: string, peer: string): Promise<boolean> {
    const kept = await new KeptRoom(roomId, this.deps.state).version();
    return kept?.members.some(({ endpoint }) => endpoint !== this.#me && endpoint !== peer) ?? false;
  }

  /** A room that the list names; null if it was deleted, or left, in between. */
  async #opened(roomId: string, signal: AbortSignal | undefined): Promise<Room | null> {
    try {
      return await this.deps.open(roomId, signal);
    } catch (error) {
      if (hasCode(error, "gone") || hasCode(error, "forbidden") || hasCode(error, "not_found")) return null;
      throw error;
    }
  }

  /** Whether the other person is in a room, or this peer can add them. */
  #isUsable({ state }: Room, peer: string): boolean {
    return memberNow(state, peer) !== null || memberNow(state, this.#me)?.role === "owner";
  }

  /** Adds the other person, and makes them an owner, as far as that is missing and this peer is an owner. */
  async #complete(room: Room, peer: string, signal: AbortSignal | undefined): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const { state } = room;
      if (memberNow(state, this.#me)?.role !== "owner") return;
      const known = memberNow(state, peer);
      try {
        if (known === null || state.leavers.has(peer)) {
          // A person who is added to a room that was left unused reads only what comes from now on.
          const freshKey = await this.#hasMessages(room, signal);
          await room.membership.add(peer, { freshKey, signal });
        }
        if (memberNow(room.state, peer)?.role !== "owner") await room.membership.setRole(peer, "owner", signal);
        return;
      } catch (error) {
        if (!hasCode(error, "conflict") || attempt === attemptsMax) throw error;
        await room.refresh(signal);
      }
    }
  }

  async #hasMessages(room: Room, signal: AbortSignal | undefined): Promise<boolean> {
    return (await room.history({ limit: 1 }, signal)).lastSeq > 0;
  }
}
