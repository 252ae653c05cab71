/**
 * Restores what a server lost of a room because it was restored from an older backup: the statements newer than the
 * server's that this client has stored, the member lines of the newest one, and the missing room keys, sealed again to
 * the members. The server verifies all of it; this client also verifies the keys before it seals anything.
 * Source: docs/backup.md.
 */
import type { Restore } from "../../wire/api.ts";
import { hasCode, UnibusError } from "../../wire/errors.ts";
import { keyBytes } from "../../wire/names.ts";
import { keyCheck } from "../../wire/statement.ts";
import { sealRoomKey } from "../crypto/keys.ts";
import { pause } from "../transport/wait.ts";
import type { GivenStatement } from "./chain.ts";
import { KeptRoom, linkOf } from "./kept-room.ts";
import type { RoomTrustDeps } from "./room-trust.ts";
import type { VerifiedMember } from "./verified-room.ts";

/** How many keys are sealed before yielding to other work. */
const sealBatch = 64;

/**
 * What the server has of a room. `version` null: unknown, because this peer was not a member at the server's version.
 */
interface BusRoom {
  readonly version: number | null;
  /** The last version that the server and this client have in common; zero if there is none. */
  readonly common: number;
  readonly epoch: number;
  /** The membership periods that the server has, as `endpoint since`. */
  readonly lines: ReadonlySet<string>;
}

/** A room as this client has stored it. */
interface Kept {
  readonly statements: ReadonlyMap<number, GivenStatement>;
  readonly members: readonly VerifiedMember[];
  readonly version: number;
  readonly subject: string;
  readonly keys: ReadonlyMap<number, string>;
}

/** A planned repair. */
export interface RoomRepair {
  readonly roomId: string;
  readonly subject: string;
  /** The newest version that this client has seen. */
  readonly version: number;
  /** The version that the server shows; zero if it does not know the room, null if it refuses to say. */
  readonly busVersion: number | null;
  /** Whether the server's chain diverged from this client's, so that an admin must choose. */
  readonly isContested: boolean;
  /**
   * Restores the room. Returns the server's new version. Errors: forbidden, gone, conflict, contested, quota, invalid.
   */
  run(signal?: AbortSignal): Promise<number>;
}

const lineName = ({ endpoint, since }: Pick<VerifiedMember, "endpoint" | "since">): string => `${endpoint} ${since}`;
const nothing: BusRoom = { version: 0, common: 0, epoch: 0, lines: new Set() };

async function keptOf(roomId: string, { state }: RoomTrustDeps): Promise<Kept> {
  const room = new KeptRoom(roomId, state);
  const [kept, statements, keys] = await Promise.all([room.version(), room.statements(), room.keys()]);
  if (kept === null || !statements.has(kept.version)) {
    throw new UnibusError("not_found", `this client has not stored room ${roomId} (ask another owner to repair it)`);
  }
  return { ...kept, statements, keys };
}

/** The stored statement of a version. Errors: not_found. */
function statementAt(kept: Kept, version: number): GivenStatement {
  const statement = kept.statements.get(version);
  if (statement !== undefined) return statement;
  const message = `this client has not stored statement ${version} of ${kept.subject} (ask another owner to repair it)`;
  throw new UnibusError("not_found", message);
}

/** The last version up to which the server's chain equals the stored one. */
async function commonWith(roomId: string, kept: Kept, version: number, parts: RoomTrustDeps, signal?: AbortSignal) {
  const newest = Math.min(version, kept.version);
  const { statements } = await parts.control.statements(roomId, newest, signal);
  // Each statement names the hash of the one before: if one is equal, all before it are.
  if (statements[0]?.text === kept.statements.get(newest)?.text) return newest;
  let common = 0;
  for (let from = 1; from <= newest; ) {
    const page = (await parts.control.statements(roomId, from, signal)).statements;
    for (const one of page) {
      if (one.text !== kept.statements.get(one.version)?.text) return common;
      common = one.version;
    }
    if (common < from) return common;
    from = common + 1;
  }
  return common;
}

/** Reads what the server has of a room. Errors: gone; those of the reads. */
async function busRoomOf(roomId: string, kept: Kept, parts: RoomTrustDeps, signal?: AbortSignal): Promise<BusRoom> {
  const { control } = parts;
  try {
    const { version } = await control.room(roomId, signal);
    const common = await commonWith(roomId, kept, version, parts, signal);
    const { members } = await control.members(roomId, signal);
    const epoch = common === 0 ? 0 : linkOf(roomId, statementAt(kept, common)).parsed.epoch;
    return { version, common, epoch, lines: new Set(members.map(lineName)) };
  } catch (error) {
    if (hasCode(error, "not_found")) return nothing;
    // The server has a version in which this peer is not a member yet, or no longer.
    if (hasCode(error, "forbidden")) return { ...nothing, version: null };
    throw error;
  }
}

/** The room keys that this peer holds, opened on first use. Missing ones are read from the server. */
class HeldKeys {
  readonly #opened = new Map<number, Uint8Array | null>();

  constructor(
    private readonly roomId: string,
    private readonly kept: Kept,
    private readonly deps: RoomTrustDeps,
  ) {}

  /** The key of an epoch, checked against the signed key_check. Errors: not_found. */
  async key(epoch: number, signal?: AbortSignal): Promise<Uint8Array> {
    let key = this.#opened.get(epoch);
    if (key === undefined) {
      key = await this.#read(epoch, signal);
      this.#opened.set(epoch, key);
    }
    if (key !== null) return key;
    const message = `this client has not stored the room key of epoch ${epoch} (ask another owner to repair it)`;
    throw new UnibusError("not_found", message);
  }

  async #read(epoch: number, signal?: AbortSignal): Promise<Uint8Array | null> {
    const { control } = this.deps;
    const held = this.kept.keys.get(epoch);
    const given = held ?? (await control.roomKey(this.roomId, epoch, signal).catch(() => null))?.sealed_key;
    const key = given === undefined ? null : await control.identity.openRoomKey(given);
    return key !== null && keyCheck(this.roomId, epoch, key) === this.#checkOf(epoch) ? key : null;
  }

  #checkOf(epoch: number): string | null {
    for (const one of this.kept.statements.values()) {
      const { parsed } = linkOf(this.roomId, one);
      if (parsed.epoch === epoch) return parsed.keyCheck;
    }
    return null;
  }
}

/** The keys that the server lacks, sealed to the members of each epoch. Errors: not_found, invalid. */
async function sealedKeys(roomId: string, kept: Kept, bus: BusRoom, parts: RoomTrustDeps, signal?: AbortSignal) {
  const { policy, epoch: last } = linkOf(roomId, statementAt(kept, kept.version)).parsed;
  const keys: Restore["keys"] = [];
  if (!policy.encrypt) return keys;
  const held = new HeldKeys(roomId, kept, parts);
  const endOf = ({ until }: VerifiedMember) => (until === 0 ? last : until - 1);
  const mine = kept.members.filter(({ endpoint }) => endpoint === parts.control.identity.endpoint);
  for (const line of kept.members) {
    const fault = await parts.vouched.faultOf(line);
    if (fault !== null) throw new UnibusError("invalid", `${line.endpoint} ${fault} (do not send them anything)`);
    const from = bus.lines.has(lineName(line)) ? Math.max(line.since, bus.epoch + 1) : line.since;
    for (let epoch = from; epoch <= endOf(line); epoch++) {
      if (!mine.some((own) => own.since <= epoch && epoch <= endOf(own))) continue;
      const sealed_key = await sealRoomKey(await held.key(epoch, signal), keyBytes(line.kex_pub));
      keys.push({ endpoint: line.endpoint, epoch, sealed_key });
      if (keys.length % sealBatch === 0) await pause(0, signal);
    }
  }
  return keys;
}

const wireForm = ({ text, by, sig }: GivenStatement) => ({ text, by, sig });

async function bodyOf(
  roomId: string,
  kept: Kept,
  bus: BusRoom,
  parts: RoomTrustDeps,
  signal?: AbortSignal,
): Promise<Restore> {
  const from = bus.version === null ? 1 : bus.common + 1;
  const versions = Array.from({ length: Math.max(0, kept.version - from + 1) }, (_, index) => from + index);
  const statements = versions.map((version) => wireForm(statementAt(kept, version)));
  const members = kept.members.map(({ endpoint, sign_pub, kex_pub, kex_sig, role, since, until, left, handle }) => {
    return { endpoint, sign_pub, kex_pub, kex_sig, role, since, until, left, handle };
  });
  return { statements, members, keys: await sealedKeys(roomId, kept, bus, parts, signal) };
}

/** What the server says it has, from the error that rejected a set of keys; null if it does not say. */
function busRoomIn(error: unknown, bus: BusRoom): BusRoom | null {
  if (!hasCode(error, "invalid") || bus.version !== null) return null;
  const { epoch, lines } = (error.details ?? {}) as { epoch?: unknown; lines?: unknown };
  if (!Number.isSafeInteger(epoch) || !Array.isArray(lines)) return null;
  return { ...bus, epoch: Number(epoch), lines: new Set(lines.map((line) => (line as unknown[]).join(" "))) };
}

async function send(
  roomId: string,
  kept: Kept,
  bus: BusRoom,
  parts: RoomTrustDeps,
  signal?: AbortSignal,
): Promise<number> {
  try {
    return await parts.control.restoreRoom(roomId, await bodyOf(roomId, kept, bus, parts, signal), signal);
  } catch (error) {
    const known = busRoomIn(error, bus);
    if (known === null) throw error;
    return parts.control.restoreRoom(roomId, await bodyOf(roomId, kept, known, parts, signal), signal);
  }
}

/**
 * Finds what a server has lost of a room, and plans the repair.
 * Errors: not_found if this client has stored too little; forbidden if this peer is not an owner in the stored version;
 * gone; conflict if the server's chain continues the stored one.
 */
export async function planRepair(roomId: string, parts: RoomTrustDeps, signal?: AbortSignal): Promise<RoomRepair> {
  const kept = await keptOf(roomId, parts);
  const { version, subject } = kept;
  const { owners } = linkOf(roomId, statementAt(kept, version)).parsed;
  if (!owners.includes(parts.control.identity.signPubHex)) {
    throw new UnibusError(
      "forbidden",
      `you are not an owner of ${subject} in version ${version} (ask an owner to repair it)`,
    );
  }
  const bus = await busRoomOf(roomId, kept, parts, signal);
  if (bus.version !== null && bus.version > version && bus.common === version) {
    const message = `the server has version ${bus.version} of ${subject}, you have seen ${version} (nothing to repair)`;
    throw new UnibusError("conflict", message);
  }
  return {
    ...{ roomId, subject, version, busVersion: bus.version },
    isContested: bus.version !== null && bus.common < Math.min(bus.version, version),
    run: (within) => send(roomId, kept, bus, parts, within),
  };
}
