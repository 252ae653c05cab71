import type { Statement } from "../wire/api.ts";
import { sha256Hex, toBase64 } from "../wire/encoding.ts";
import { type ErrorCode, hasCode, isUnibusError, UnibusError } from "../wire/errors.ts";
import { roomFingerprint } from "../wire/fingerprint.ts";
import { keyBytes } from "../wire/names.ts";
import {
  keyCheck,
  nextState,
  type Policy,
  type RoomRole,
  type RoomState,
  type StateChange,
  statementText,
  zeroHash,
} from "../wire/statement.ts";
import { newUlid } from "../wire/ulid.ts";
import type { Identity } from "./identity.ts";
import { KeptRoom } from "./kept-room.ts";
import { newRoomKey, sealRoomKey } from "./keys.ts";
import { RoomIdentity } from "./room-identity.ts";
import { RoomKeys } from "./room-keys.ts";
import { RoomTrust, type TrustParts } from "./trust.ts";
import { memberNow, type VerifiedRoom } from "./verified-room.ts";
import type { PeerKeys, Vouched } from "./vouched.ts";
import { pause } from "./wait.ts";

/** How often a change is made anew because another one came first. */
const attemptsMax = 5;
/** How many keys are sealed before others get their turn. */
const sealBatch = 64;

/** What may be answered to a copy of a change whose first answer was lost. */
const openCodes: ReadonlySet<ErrorCode> = new Set(["conflict", "forbidden", "unavailable"]);

/** A change as it is sent. */
interface Change {
  readonly version: number;
  readonly hash: string;
  /** The key of the epoch that it begins. */
  readonly newKey: Uint8Array | null;
  readonly send: () => Promise<unknown>;
}

/** The statement of a state, signed. */
function statementOf(state: RoomState, identity: Identity): Statement & { readonly hash: string } {
  const text = statementText(state);
  return { text, by: identity.signPubHex, sig: toBase64(identity.sign(text)), hash: sha256Hex(text) };
}

const wireForm = ({ text, by, sig }: Statement): Statement => ({ text, by, sig });

/** A room key sealed to each of some peers. Errors: invalid for one whose user does not vouch for its kex key. */
async function sealedTo(
  peers: readonly PeerKeys[],
  roomKey: Uint8Array,
  vouched: Vouched,
): Promise<{ endpoint: string; sealed_key: string }[]> {
  const sealed: { endpoint: string; sealed_key: string }[] = [];
  for (const peer of peers) {
    const fault = await vouched.faultOf(peer);
    if (fault !== null) throw new UnibusError("invalid", `${peer.endpoint} ${fault} (do not send them anything)`);
    sealed.push({ endpoint: peer.endpoint, sealed_key: sealRoomKey(roomKey, keyBytes(peer.kex_pub)) });
    if (sealed.length % sealBatch === 0) await pause(0, undefined);
  }
  return sealed;
}

/** Errors: conflict for one who is in a room. */
function refusePresent(room: VerifiedRoom, endpoint: string): void {
  if (memberNow(room, endpoint) === null) return;
  throw new UnibusError("conflict", `${endpoint} is in the room already (leave it out)`);
}

/** Whether the bus has a statement of ours as a room's first. */
async function isFirst(text: string, roomId: string, { control }: TrustParts, signal?: AbortSignal): Promise<boolean> {
  try {
    return (await control.statements(roomId, 1, signal)).statements[0]?.text === text;
  } catch {
    return false;
  }
}

/**
 * Makes a room with a fresh id, whose only owner is this peer. It is remembered before it is read back.
 * Errors: conflict for a subject that is taken, or a user whose kex key the bus does not know; forbidden, quota,
 * invalid as of POST /rooms; unavailable when it cannot be known whether it was made.
 */
export async function createRoom(
  draft: { readonly subject: string; readonly policy: Policy },
  parts: TrustParts,
  signal?: AbortSignal,
): Promise<{ readonly trust: RoomTrust; readonly keys: RoomKeys }> {
  const { control, state: memory } = parts;
  const { identity } = control;
  const { endpoint, signPubHex: sign_pub, kexPubHex: kex_pub } = identity;
  const roomId = newUlid(control.clock.now());
  const roomKey = draft.policy.encrypt ? newRoomKey() : null;
  const statement = statementOf(
    {
      ...{ roomId, version: 1, prev: zeroHash, subject: draft.subject, policy: draft.policy, epoch: 1 },
      keyCheck: roomKey === null ? zeroHash : keyCheck(roomId, 1, roomKey),
      lines: [{ endpoint, sign_pub, kex_pub, role: "owner", since: 1, until: 0 }],
    },
    identity,
  );
  const sealed = roomKey === null ? {} : { sealed_key: sealRoomKey(roomKey, identity.kexPub) };
  try {
    await control.createRoom({ statement: wireForm(statement), ...sealed }, signal);
  } catch (error) {
    // A copy whose answer was lost may have made it.
    const isOpen = hasCode(error, "conflict") || hasCode(error, "unavailable");
    if (!isOpen || !(await isFirst(statement.text, roomId, parts, signal))) throw error;
  }
  const owners = [sign_pub];
  await memory.saveRoom(roomId, { version: 1, hash: statement.hash, epoch: 1, owners, firstOwners: owners });
  await new RoomIdentity(roomId, memory).keep(roomFingerprint(statement), "created");
  await new KeptRoom(roomId, memory).addStatements([{ version: 1, ...wireForm(statement) }]);
  const trust = await RoomTrust.open(roomId, parts, { signal });
  const keys = new RoomKeys(trust, control, parts.signal);
  if (roomKey !== null) await keys.adopt(1, roomKey);
  return { trust, keys };
}

/**
 * What an owner does to a room, each change built on its verified state and signed; and leaving it.
 *
 * A change that another one overtook is built anew, some times. One whose answer was lost is looked for in the room:
 * it is done if its statement is there. Errors of all: room_forked, forbidden for who is no owner, and what the bus
 * answers; unavailable when it cannot be known whether it was done.
 */
export class RoomChanges {
  readonly #identity: Identity;

  constructor(
    private readonly trust: RoomTrust,
    private readonly keys: RoomKeys,
    private readonly parts: TrustParts,
  ) {
    this.#identity = parts.control.identity;
  }

  /**
   * Adds peers, who can read what is said in this epoch, also what was said before they came. A new epoch begins first,
   * so that they read only what is said from now on, where that is asked for, where one of them was a member before
   * (they must not read what was said while they were out), and where members wait to be signed out.
   * Errors: conflict for one who is in the room; invalid for one whose keys nobody vouches for; not_found, quota.
   */
  async add(
    peers: readonly PeerKeys[],
    {
      freshKey = false,
      signal,
    }: { readonly freshKey?: boolean | undefined; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<VerifiedRoom> {
    const room = await this.trust.refresh(signal);
    for (const { endpoint } of peers) if (!room.leavers.has(endpoint)) refusePresent(room, endpoint);
    const wereIn = peers.some(({ endpoint }) => room.members.has(endpoint));
    if (freshKey || wereIn || room.leavers.size > 0) await this.rekey(signal);
    return this.#commit(signal, async (room) => {
      const { state } = room;
      for (const { endpoint } of peers) refusePresent(room, endpoint);
      for (const peer of peers) {
        const fault = await this.parts.vouched.faultOf(peer);
        if (fault !== null) throw new UnibusError("invalid", `${peer.endpoint} ${fault} (do not add them)`);
      }
      const roomKey = await this.keys.key(state.epoch, signal);
      const list =
        roomKey === null
          ? peers.map(({ endpoint }) => ({ endpoint }))
          : await sealedTo(peers, roomKey, this.parts.vouched);
      const lines = peers.map(({ endpoint, sign_pub, kex_pub }) => ({ endpoint, sign_pub, kex_pub }));
      return this.#change(state, { kind: "add", members: lines }, (statement) =>
        this.parts.control.addMembers(state.roomId, { members: list, statement }, signal),
      );
    });
  }

  /** Takes a member out, and all who left, into a new epoch. Errors: not_found; conflict for the last owner. */
  async kick(endpoint: string, signal?: AbortSignal): Promise<VerifiedRoom> {
    if (endpoint === this.#identity.endpoint) throw new UnibusError("invalid", "one does not kick oneself (leave)");
    return this.#commit(signal, async (room) => {
      if (memberNow(room, endpoint) === null) {
        throw new UnibusError("not_found", `${endpoint} is no member of this room (see its members)`);
      }
      return this.#rotation(room, endpoint, signal);
    });
  }

  /** A new epoch with a new key; signs out all who left. */
  async rekey(signal?: AbortSignal): Promise<VerifiedRoom> {
    return this.#commit(signal, (room) => this.#rotation(room, null, signal));
  }

  /** As `rekey`, if that is due in the room as it is read: another owner may have been quicker. */
  async settle(isDue: (room: VerifiedRoom) => boolean, signal?: AbortSignal): Promise<VerifiedRoom> {
    return this.#commit(signal, async (room) => (isDue(room) ? this.#rotation(room, null, signal) : null));
  }

  /** Makes or unmakes an owner, where they have another role. Errors: not_found; conflict for the last owner. */
  async setRole(endpoint: string, role: RoomRole, signal?: AbortSignal): Promise<VerifiedRoom> {
    return this.#commit(signal, async (room) => {
      const member = memberNow(room, endpoint);
      if (member === null)
        throw new UnibusError("not_found", `${endpoint} is no member of this room (see its members)`);
      if (member.role === role) return null;
      if (role === "member" && room.owners.length === 1) {
        throw new UnibusError(
          "conflict",
          "the last owner cannot go (make another member an owner, or delete the room)",
        );
      }
      return this.#change(room.state, { kind: "role", endpoint, role }, (statement) =>
        this.parts.control.setRole(this.trust.roomId, endpoint, { role, statement }, signal),
      );
    });
  }

  /** Leaves the room: access is gone at once, and an owner's client signs this peer out later. Errors: conflict. */
  async leave(signal?: AbortSignal): Promise<void> {
    try {
      await this.parts.control.leave(this.trust.roomId, signal);
    } catch (error) {
      // Who is not in the room has left it: so reads the answer to a copy, too.
      if (!hasCode(error, "forbidden") && !hasCode(error, "gone")) throw error;
    }
  }

  /** Deletes the room for ever, with all that it kept. Errors: forbidden for who neither owns it nor is an admin. */
  async delete(signal?: AbortSignal): Promise<void> {
    try {
      await this.parts.control.deleteRoom(this.trust.roomId, signal);
    } catch (error) {
      if (!hasCode(error, "gone")) throw error;
    }
  }

  async #rotation(room: VerifiedRoom, kicked: string | null, signal: AbortSignal | undefined): Promise<Change> {
    const { state } = room;
    const gone = new Set(room.leavers);
    // Nobody signed that they left: it is the bus's word, which may not make an owner sign themselves out.
    if (gone.has(this.#identity.endpoint)) throw new UnibusError("forbidden", "the bus says that you left this room");
    if (kicked !== null) gone.add(kicked);
    const newKey = state.policy.encrypt ? newRoomKey() : null;
    const check = newKey === null ? zeroHash : keyCheck(state.roomId, state.epoch + 1, newKey);
    const staying = room.present.filter(({ endpoint }) => !gone.has(endpoint));
    const keys = newKey === null ? {} : { keys: await sealedTo(staying, newKey, this.parts.vouched) };
    const send = (statement: Statement) =>
      kicked === null
        ? this.parts.control.rekey(state.roomId, { statement, ...keys }, signal)
        : this.parts.control.kick(state.roomId, kicked, { statement, ...keys }, signal);
    return this.#change(state, { kind: "rotate", gone, keyCheck: check }, send, newKey);
  }

  #change(
    state: RoomState,
    change: StateChange,
    send: (statement: Statement) => Promise<unknown>,
    newKey: Uint8Array | null = null,
  ): Change {
    const next = nextState(state, change);
    const statement = statementOf(next, this.#identity);
    return { version: next.version, hash: statement.hash, newKey, send: () => send(wireForm(statement)) };
  }

  /** Builds a change on the newest state and sends it, anew when another one came first. `build` may find none due. */
  async #commit(
    signal: AbortSignal | undefined,
    build: (room: VerifiedRoom) => Promise<Change | null>,
  ): Promise<VerifiedRoom> {
    for (let attempt = 1; ; attempt++) {
      const room = await this.trust.refresh(signal);
      if (!room.owners.includes(this.#identity.signPubHex)) {
        throw new UnibusError("forbidden", "only an owner of the room may do this (ask one)");
      }
      const change = await build(room);
      if (change === null) return room;
      let failure: unknown = null;
      try {
        await change.send();
      } catch (error) {
        if (!isUnibusError(error) || !openCodes.has(error.code)) throw error;
        failure = error;
      }
      const after = await this.trust.refresh(signal);
      const isDone = this.trust.hashAt(change.version) === change.hash;
      if (isDone) {
        if (change.newKey !== null) await this.keys.adopt(room.state.epoch + 1, change.newKey);
        return after;
      }
      if (failure === null) throw this.trust.fork(`the bus took version ${change.version} and shows another`);
      const isOvertaken = after.hash !== room.hash || [...after.leavers].join() !== [...room.leavers].join();
      if (!hasCode(failure, "conflict") || !isOvertaken || attempt === attemptsMax) throw failure;
    }
  }
}
