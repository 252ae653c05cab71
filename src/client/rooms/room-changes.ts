/**
 * Changes to a room: create, add, kick, rekey, roles, leave, delete.
 *
 * Except for leave and delete, a change is a new statement, built on the newest verified state and signed by an owner.
 * The server accepts one statement per version, so concurrent changes conflict and the loser is rebuilt (optimistic
 * concurrency). A change whose reply was lost is found by its hash in the room. Used by `Room`, `Membership`,
 * `Settling` and `Bus`.
 */
import type { Statement } from "../../wire/api.ts";
import { sha256Hex, toBase64 } from "../../wire/encoding.ts";
import { type ErrorCode, hasCode, isUnibusError, UnibusError } from "../../wire/errors.ts";
import { roomFingerprint } from "../../wire/fingerprint.ts";
import { keyBytes } from "../../wire/names.ts";
import {
  keyCheck,
  nextState,
  type Policy,
  type RoomRole,
  type RoomState,
  type StateChange,
  statementText,
  zeroHash,
} from "../../wire/statement.ts";
import { newUlid } from "../../wire/ulid.ts";
import type { Identity } from "../crypto/identity.ts";
import { newRoomKey, sealRoomKey } from "../crypto/keys.ts";
import type { PeerKeys, VerifiedKeys } from "../crypto/verified-keys.ts";
import { pause } from "../transport/wait.ts";
import { KeptRoom } from "../trust/kept-room.ts";
import { RoomIdentity } from "../trust/room-identity.ts";
import { RoomKeys } from "../trust/room-keys.ts";
import { RoomTrust, type RoomTrustDeps } from "../trust/room-trust.ts";
import { memberNow, type VerifiedRoom } from "../trust/verified-room.ts";

/** How many times a change is built when others win the race. */
const attemptsMax = 5;
/** How many keys are sealed before yielding to other work. */
const sealBatch = 64;

/** Errors after which the change may still have been made by a copy whose reply was lost. */
const openCodes: ReadonlySet<ErrorCode> = new Set(["conflict", "forbidden", "unavailable"]);

/** A change, ready to send. */
interface Change {
  readonly version: number;
  readonly hash: string;
  /** The key of the new epoch, if the change starts one. */
  readonly newKey: Uint8Array | null;
  readonly send: () => Promise<unknown>;
}

/** Builds and signs the statement of a state. */
async function statementOf(state: RoomState, identity: Identity): Promise<Statement & { readonly hash: string }> {
  const text = statementText(state);
  return { text, by: identity.signPubHex, sig: toBase64(await identity.sign(text)), hash: sha256Hex(text) };
}

const wireForm = ({ text, by, sig }: Statement): Statement => ({ text, by, sig });

/** Seals a room key to each peer. Errors: invalid if a peer's kex key is not signed by that user. */
async function sealedTo(
  peers: readonly PeerKeys[],
  roomKey: Uint8Array,
  vouched: VerifiedKeys,
): Promise<{ endpoint: string; sealed_key: string }[]> {
  const sealed: { endpoint: string; sealed_key: string }[] = [];
  for (const peer of peers) {
    const fault = await vouched.faultOf(peer);
    if (fault !== null) throw new UnibusError("invalid", `${peer.endpoint} ${fault} (do not send them anything)`);
    sealed.push({ endpoint: peer.endpoint, sealed_key: await sealRoomKey(roomKey, keyBytes(peer.kex_pub)) });
    if (sealed.length % sealBatch === 0) await pause(0, undefined);
  }
  return sealed;
}

/** Rejects a peer that is already in the room. Errors: conflict. */
function refusePresent(room: VerifiedRoom, endpoint: string): void {
  if (memberNow(room, endpoint) === null) return;
  throw new UnibusError("conflict", `${endpoint} is already a member of this room (leave it out)`);
}

/** Whether the server has our statement as the room's first. */
async function isFirst(
  text: string,
  roomId: string,
  { control }: RoomTrustDeps,
  signal?: AbortSignal,
): Promise<boolean> {
  try {
    return (await control.statements(roomId, 1, signal)).statements[0]?.text === text;
  } catch {
    return false;
  }
}

/**
 * Creates a room with a new id, whose only owner is this peer. The pin is saved before the room is read back.
 * Errors: conflict if the subject is taken, or the server does not know this user's kex key; forbidden, quota, invalid
 * as of POST /rooms; unavailable if the outcome is unknown.
 */
export async function createRoom(
  draft: { readonly subject: string; readonly policy: Policy },
  deps: RoomTrustDeps,
  signal?: AbortSignal,
): Promise<{ readonly trust: RoomTrust; readonly keys: RoomKeys }> {
  const { control, state: memory } = deps;
  const { identity } = control;
  const { endpoint, signPubHex: sign_pub, kexPubHex: kex_pub } = identity;
  const roomId = newUlid(control.clock.now());
  const roomKey = draft.policy.encrypt ? newRoomKey() : null;
  const statement = await statementOf(
    {
      ...{ roomId, version: 1, prev: zeroHash, subject: draft.subject, policy: draft.policy, epoch: 1 },
      keyCheck: roomKey === null ? zeroHash : keyCheck(roomId, 1, roomKey),
      lines: [{ endpoint, sign_pub, kex_pub, role: "owner", since: 1, until: 0 }],
    },
    identity,
  );
  const sealed = roomKey === null ? {} : { sealed_key: await sealRoomKey(roomKey, identity.kexPub) };
  try {
    await control.createRoom({ statement: wireForm(statement), ...sealed }, signal);
  } catch (error) {
    // An earlier copy of the request, whose reply was lost, may have created it.
    const isOpen = hasCode(error, "conflict") || hasCode(error, "unavailable");
    if (!isOpen || !(await isFirst(statement.text, roomId, deps, signal))) throw error;
  }
  const owners = [sign_pub];
  await memory.saveRoom(roomId, { version: 1, hash: statement.hash, epoch: 1, owners, firstOwners: owners });
  await new RoomIdentity(roomId, memory).keep(roomFingerprint(statement), "created");
  await new KeptRoom(roomId, memory).addStatements([{ version: 1, ...wireForm(statement) }]);
  const trust = await RoomTrust.open(roomId, deps, { signal });
  const keys = new RoomKeys(trust, control, deps.signal);
  if (roomKey !== null) await keys.adopt(1, roomKey);
  return { trust, keys };
}

/**
 * An owner's changes to a room, each built on its verified state and signed; and leaving it.
 *
 * A change that loses a race is rebuilt and sent again, up to a limit. A change whose reply was lost is looked up in
 * the room: it succeeded if its statement is there. Errors of all: room_forked; forbidden if this peer is not an owner;
 * what the server answers; unavailable if the outcome is unknown.
 */
export class RoomChanges {
  readonly #identity: Identity;

  constructor(
    private readonly trust: RoomTrust,
    private readonly keys: RoomKeys,
    private readonly deps: RoomTrustDeps,
  ) {
    this.#identity = deps.control.identity;
  }

  /**
   * Adds peers, who can read all messages of the current epoch, including earlier ones. A new epoch starts first, so
   * that they read only messages from now on, if `freshKey` is set, if one of them is a former member (who must not
   * read messages from their absence), or if members have left and must be removed.
   * Errors: conflict for a peer in the room; invalid if a peer's kex key is not signed by that user; not_found, quota.
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
        const fault = await this.deps.vouched.faultOf(peer);
        if (fault !== null) throw new UnibusError("invalid", `${peer.endpoint} ${fault} (do not add them)`);
      }
      const roomKey = await this.keys.key(state.epoch, signal);
      const list =
        roomKey === null
          ? peers.map(({ endpoint }) => ({ endpoint }))
          : await sealedTo(peers, roomKey, this.deps.vouched);
      const lines = peers.map(({ endpoint, sign_pub, kex_pub }) => ({ endpoint, sign_pub, kex_pub }));
      return this.#change(state, { kind: "add", members: lines }, (statement) =>
        this.deps.control.addMembers(state.roomId, { members: list, statement }, signal),
      );
    });
  }

  /** Removes a member, and all who left, and starts a new epoch. Errors: not_found; conflict for the last owner. */
  async kick(endpoint: string, signal?: AbortSignal): Promise<VerifiedRoom> {
    if (endpoint === this.#identity.endpoint)
      throw new UnibusError("invalid", "you cannot kick yourself (leave the room instead)");
    return this.#commit(signal, async (room) => {
      if (memberNow(room, endpoint) === null) {
        throw new UnibusError("not_found", `${endpoint} is not a member of this room (see its members)`);
      }
      return this.#rotation(room, endpoint, signal);
    });
  }

  /** Starts a new epoch with a new key, and removes all members who left. */
  async rekey(signal?: AbortSignal): Promise<VerifiedRoom> {
    return this.#commit(signal, (room) => this.#rotation(room, null, signal));
  }

  /** Like `rekey`, if `isDue` still holds for the newest state: another owner may have been faster. */
  async settle(isDue: (room: VerifiedRoom) => boolean, signal?: AbortSignal): Promise<VerifiedRoom> {
    return this.#commit(signal, async (room) => (isDue(room) ? this.#rotation(room, null, signal) : null));
  }

  /** Changes a member's role, if it differs. Errors: not_found; conflict for the last owner. */
  async setRole(endpoint: string, role: RoomRole, signal?: AbortSignal): Promise<VerifiedRoom> {
    return this.#commit(signal, async (room) => {
      const member = memberNow(room, endpoint);
      if (member === null)
        throw new UnibusError("not_found", `${endpoint} is not a member of this room (see its members)`);
      if (member.role === role) return null;
      if (role === "member" && room.owners.length === 1) {
        throw new UnibusError(
          "conflict",
          "the last owner cannot leave or be demoted (make another member an owner first, or delete the room)",
        );
      }
      return this.#change(room.state, { kind: "role", endpoint, role }, (statement) =>
        this.deps.control.setRole(this.trust.roomId, endpoint, { role, statement }, signal),
      );
    });
  }

  /** Leaves the room. Access ends at once; an owner's client signs the removal later. Errors: conflict. */
  async leave(signal?: AbortSignal): Promise<void> {
    try {
      await this.deps.control.leave(this.trust.roomId, signal);
    } catch (error) {
      // The peer is not in the room, so it has left: a second copy of the request also gets this answer.
      if (!hasCode(error, "forbidden") && !hasCode(error, "gone")) throw error;
    }
  }

  /** Deletes the room and its history for ever. Errors: forbidden for a peer that is neither an owner nor an admin. */
  async delete(signal?: AbortSignal): Promise<void> {
    try {
      await this.deps.control.deleteRoom(this.trust.roomId, signal);
    } catch (error) {
      if (!hasCode(error, "gone")) throw error;
    }
  }

  async #rotation(room: VerifiedRoom, kicked: string | null, signal: AbortSignal | undefined): Promise<Change> {
    const { state } = room;
    const gone = new Set(room.leavers);
    // `left` is not signed, only stated by the server. It must not make an owner sign their own removal.
    if (gone.has(this.#identity.endpoint))
      throw new UnibusError("forbidden", "the server says that you left this room (ask another owner to do this)");
    if (kicked !== null) gone.add(kicked);
    const newKey = state.policy.encrypt ? newRoomKey() : null;
    const check = newKey === null ? zeroHash : keyCheck(state.roomId, state.epoch + 1, newKey);
    const staying = room.present.filter(({ endpoint }) => !gone.has(endpoint));
    const keys = newKey === null ? {} : { keys: await sealedTo(staying, newKey, this.deps.vouched) };
    const send = (statement: Statement) =>
      kicked === null
        ? this.deps.control.rekey(state.roomId, { statement, ...keys }, signal)
        : this.deps.control.kick(state.roomId, kicked, { statement, ...keys }, signal);
    return this.#change(state, { kind: "rotate", gone, keyCheck: check }, send, newKey);
  }

  async #change(
    state: RoomState,
    change: StateChange,
    send: (statement: Statement) => Promise<unknown>,
    newKey: Uint8Array | null = null,
  ): Promise<Change> {
    const next = nextState(state, change);
    const statement = await statementOf(next, this.#identity);
    return { version: next.version, hash: statement.hash, newKey, send: () => send(wireForm(statement)) };
  }

  /**
   * Builds a change on the newest state and sends it, again if another change came first. `build` returns null if there
   * is nothing to do.
   */
  async #commit(
    signal: AbortSignal | undefined,
    build: (room: VerifiedRoom) => Promise<Change | null>,
  ): Promise<VerifiedRoom> {
    for (let attempt = 1; ; attempt++) {
      const room = await this.trust.refresh(signal);
      if (!room.owners.includes(this.#identity.signPubHex)) {
        throw new UnibusError("forbidden", "only an owner of the room may do this (ask an owner)");
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
      if (failure === null)
        throw this.trust.fork(`the server accepted version ${change.version} but returns another one`);
      const isOvertaken = after.hash !== room.hash || [...after.leavers].join() !== [...room.leavers].join();
      if (!hasCode(failure, "conflict") || !isOvertaken || attempt === attemptsMax) throw failure;
    }
  }
}
