/**
 * Sample records for the conformance suite, and helpers for its cases. Samples are numbered: the n-th key, peer, user,
 * invite and room are deterministic and distinct. `changeOf` and `restorationOver` build valid follow-up versions.
 */
import { expect } from "bun:test";
import {
  changeStay,
  type ErrorCode,
  endpointId,
  type InviteRecord,
  isUnibusError,
  type NewRoom,
  type Policy,
  type RoomChange,
  type RoomRecord,
  type RoomRestoration,
  type SealedKeyRecord,
  type StatementRecord,
  type StayRecord,
  type StayRule,
  sha256Hex,
  type UserRecord,
} from "../../src/contracts/index.ts";
import type { OpenStore, StoreUnderTest } from "./store.ts";

/** Number of concurrent callers in a race that only one may win. */
export const callers = 32;

/** Base time of the samples. */
export const epochMs = 1_750_000_000_123;

/** Runs a case with its own store. */
export function withStore(open: OpenStore, work: (store: StoreUnderTest) => Promise<void>): () => Promise<void> {
  return async () => {
    const store = await open();
    try {
      await work(store);
    } finally {
      await store.close();
    }
  };
}

/** The integers from 0 to `count` - 1. */
export const upTo = (count: number): number[] => [...Array(count).keys()];

/** The code and message of the UnibusError that a promise rejects with; any other outcome fails the case. */
export async function failure(promise: Promise<unknown>): Promise<{ code: ErrorCode; message: string }> {
  const error = await promise.then(
    () => new Error("it went through"),
    (thrown: unknown) => thrown,
  );
  if (!isUnibusError(error)) throw error;
  return { code: error.code, message: error.message };
}

/** Indexes of the promises that won, i.e. resolved to anything but false or null. All others must have conflicted. */
export async function winners(promises: readonly Promise<unknown>[]): Promise<number[]> {
  const results = await Promise.all(
    promises.map((promise) =>
      promise.then(
        (won) => won !== false && won !== null,
        async (error: unknown) => {
          expect(await failure(Promise.reject(error))).toMatchObject({ code: "conflict" });
          return false;
        },
      ),
    ),
  );
  return upTo(results.length).filter((index) => results[index]);
}

/** The n-th key. */
export const keySample = (n: number): string => sha256Hex(`key ${n}`);

/** The n-th peer. */
export const peer = (n: number): string => endpointId(keySample(n));

/** Text that a careless store alters: quotes, wide characters, line ends, placeholder syntax. */
const awkward = "Zoë 'n' \"Öl\" 🚌\n$handle ? :x \\ --";

/** The n-th user. */
export function userSample(n: number, differing: Partial<UserRecord> = {}): UserRecord {
  return {
    signPub: keySample(n),
    endpoint: peer(n),
    kexPub: sha256Hex(`kex ${n}`),
    kexSig: `${"a".repeat(85)}${n % 10}==`,
    handle: `${awkward} ${n}`,
    role: "member",
    status: "active",
    createdAt: epochMs + n,
    revokedAt: null,
    revision: 0,
    ...differing,
  };
}

/** The n-th invite. */
export function inviteSample(n: number, differing: Partial<InviteRecord> = {}): InviteRecord {
  const tokenHash = sha256Hex(`token ${n}`);
  return {
    id: tokenHash.slice(0, 32),
    tokenHash,
    handle: `${awkward} ${n}`,
    role: "member",
    expiresAt: epochMs + 604_800_000,
    createdAt: epochMs + n,
    usedAt: null,
    usedSignPub: null,
    usedKexPub: null,
    completedAt: null,
    ...differing,
  };
}

/** The id of the n-th room, in ascending order. */
export const roomIdSample = (n: number): string => `01J${String(n).padStart(23, "0")}`;

/** A stay of the n-th peer. */
export function staySample(n: number, differing: Partial<StayRecord> = {}): StayRecord {
  const { kexPub, kexSig, signPub, handle } = userSample(n);
  return {
    endpoint: peer(n),
    sign_pub: signPub,
    kex_pub: kexPub ?? "",
    kex_sig: kexSig ?? "",
    role: "member",
    since: 1,
    until: 0,
    handle,
    leftAt: null,
    devices: [],
    acceptedAt: epochMs,
    addedBy: peer(1),
    ...differing,
  };
}

/** A key sealed to the n-th peer. */
export function sealedSample(n: number, epoch: number, salt = "", payer = 1): SealedKeyRecord {
  const sealedKey = `${sha256Hex(`${n} ${epoch} ${salt}`)}${"+/".repeat(21)}A=`;
  return { endpoint: peer(n), epoch, sealedKey, chargedTo: peer(payer) };
}

/** A statement. `salt` varies its text. */
export function statementSample(roomId: string, version: number, salt = ""): StatementRecord {
  const text = `unibus-room-v1\n${roomId}\n${version}\n${salt}`;
  return { version, text, by: keySample(1), sig: `${"b".repeat(86)}==` };
}

const policySample: Policy = { encrypt: true, persist: false, sign_msgs: true };

/** The n-th room, created by peer 1. */
export function roomSample(n: number, differing: Partial<RoomRecord> = {}): NewRoom {
  const roomId = differing.roomId ?? roomIdSample(n);
  const statement = statementSample(roomId, 1);
  const room: RoomRecord = {
    roomId,
    subject: `room.number-${n}`,
    policy: policySample,
    epoch: 1,
    keyCheck: sha256Hex(`check ${n}`),
    version: 1,
    statementHash: sha256Hex(statement.text),
    creator: peer(1),
    createdAt: epochMs + n,
    deletedAt: null,
    rekeyPending: false,
    revision: 1,
    ...differing,
  };
  return { room, stay: staySample(1, { role: "owner" }), keys: [sealedSample(1, 1)], statement };
}

/** What a change contains besides its statement. */
export interface ChangeParts {
  readonly stays?: readonly StayRecord[];
  readonly keys?: readonly SealedKeyRecord[];
  /** Whether the change raises the epoch. */
  readonly rekey?: boolean;
  readonly salt?: string;
}

/** The change that follows the given room record. */
export function changeOf(
  room: RoomRecord,
  { stays = [], keys = [], rekey = false, salt = "" }: ChangeParts,
): RoomChange {
  const version = room.version + 1;
  const statement = statementSample(room.roomId, version, salt);
  const next: RoomRecord = {
    ...room,
    version,
    statementHash: sha256Hex(statement.text),
    epoch: room.epoch + (rekey ? 1 : 0),
    keyCheck: rekey ? sha256Hex(`check ${version} ${salt}`) : room.keyCheck,
    revision: room.revision + 1,
  };
  return { room: next, stays, keys, statement };
}

/** Changes a member's open stay by a rule, as the plugins do. */
export function reviseStay(
  rooms: StoreUnderTest["rooms"],
  roomId: string,
  endpoint: string,
  rule: StayRule,
): Promise<StayRecord | null> {
  return changeStay(rooms, { roomId, endpoint }, rule);
}

/** Applies a change to the stored room; the change must win. */
export async function change({ rooms }: StoreUnderTest, roomId: string, parts: ChangeParts): Promise<RoomChange> {
  const room = await rooms.getRoom(roomId);
  if (!room) throw new Error(`no room ${roomId}`);
  const made = changeOf(room, parts);
  expect(await rooms.applyChange(made)).toBe(true);
  return made;
}

/** What a restoration contains besides its statements. */
export interface RestorationParts {
  readonly stays?: readonly StayRecord[];
  readonly keys?: readonly SealedKeyRecord[];
  readonly epoch?: number;
  readonly salt?: string;
  /** The version and epoch up to which the stored rows are kept. Default: all of them. */
  readonly base?: { readonly version: number; readonly epoch: number };
}

/** A restoration that brings the stored room `room` to a version. */
export function restorationOver(room: RoomRecord, version: number, parts: RestorationParts = {}): RoomRestoration {
  const { stays = [staySample(1, { role: "owner" })], keys = [], epoch = room.epoch, salt = "" } = parts;
  const base = parts.base ?? { version: room.version, epoch: room.epoch };
  const { roomId } = room;
  const numbers = upTo(version - base.version).map((n) => base.version + 1 + n);
  const statements = numbers.map((number) => statementSample(roomId, number, salt));
  const statementHash = sha256Hex(statements.at(-1)?.text ?? "");
  const keyCheck = sha256Hex(`check ${version} ${salt}`);
  const next =
    statements.length === 0 ? room : { ...room, version, epoch, statementHash, keyCheck, revision: room.revision + 1 };
  return { room: next, expected: { version: room.version, hash: room.statementHash }, base, statements, stays, keys };
}

/** A restoration that creates a room at a version. */
export function restorationOf(made: NewRoom, version: number, parts: RestorationParts = {}): RoomRestoration {
  const base = { version: 0, epoch: 0 };
  return { ...restorationOver({ ...made.room, version: 0 }, version, { ...parts, base }), expected: null };
}
