import type { Caller } from "../../contracts/auth.ts";
import type { NewRoom, RoomRecord, RoomStore, StayRecord } from "../../contracts/store.ts";
import type { RoomStreams } from "../../contracts/streams.ts";
import { takenRoomId, takenSubject } from "../../contracts/taken.ts";
import type { KeyedMutex } from "../../lib/keyed-mutex.ts";
import type { Statement } from "../../wire/api.ts";
import { sha256Hex } from "../../wire/encoding.ts";
import { UnibusError } from "../../wire/errors.ts";
import { isUlid, normalKey, subjectFault } from "../../wire/names.ts";
import { type ParsedStatement, zeroHash } from "../../wire/statement.ts";
import type { Newcomers } from "./newcomers.ts";
import type { RoomQuotas } from "./quotas.ts";
import { checkText, readStatement, stateOf } from "./statements.ts";

/** What creating a room depends on. */
export interface CreateRules {
  readonly store: RoomStore;
  readonly streams: RoomStreams | undefined;
  /** Held by room id, then by subject. */
  readonly places: KeyedMutex;
  readonly namespaces: readonly string[];
  /** Namespaces in which only admins may create. */
  readonly adminNamespaces: ReadonlySet<string>;
  readonly perUserMax: number;
  readonly quotas: RoomQuotas;
  readonly newcomers: Newcomers;
  readonly allowUnencrypted: boolean;
  readonly now: () => number;
}

const refuse = (code: "invalid" | "forbidden" | "conflict" | "quota", message: string) =>
  new UnibusError(code, message);

function checkCreator(parsed: ParsedStatement, statement: Statement, caller: Caller): void {
  if (parsed.version !== 1) {
    throw refuse("conflict", `a new room begins at version 1, not ${parsed.version} (sign its first statement)`);
  }
  const isOnlyOwner = parsed.owners.length === 1 && parsed.owners[0] === caller.signPub;
  if (!isOnlyOwner || normalKey(statement.by) !== caller.signPub) {
    throw refuse("forbidden", "whoever creates a room signs it and is its only owner (sign it yourself)");
  }
}

/** Errors: invalid, forbidden for a room that may not be created here by this caller. */
export function checkPlace(parsed: ParsedStatement, caller: Caller, rules: CreateRules): void {
  if (!isUlid(parsed.roomId))
    throw refuse("invalid", "line 2 (room_id) of the statement is no ULID (make a fresh one)");
  const fault = subjectFault(parsed.subject, rules.namespaces);
  if (fault !== null) throw refuse("invalid", `line 5 (subject) of the statement: ${fault}`);
  const namespace = parsed.subject.split(".")[0] ?? "";
  if (rules.adminNamespaces.has(namespace) && caller.role !== "admin") {
    throw refuse("forbidden", `only admins create rooms in ${namespace} (ask one, or choose another namespace)`);
  }
  if (!parsed.policy.encrypt && !rules.allowUnencrypted) {
    throw refuse("forbidden", "a bus on a public address takes encrypted rooms only (or set rooms.allow_unencrypted)");
  }
}

/** The error for a creator who has as many live rooms as there may be. */
export const tooManyRooms = ({ perUserMax }: CreateRules) =>
  refuse("quota", `you have ${perUserMax} rooms, the most that rooms.per_user allows (delete one)`);

/** Errors: invalid unless there is a key exactly where the room is encrypted. */
export function checkSealedKey(encrypt: boolean, sealedKey: string | undefined): void {
  if (encrypt && sealedKey === undefined) {
    throw refuse("invalid", "sealed_key is missing and the room is encrypted (seal the room key to each member)");
  }
  if (!encrypt && sealedKey !== undefined) {
    throw refuse("invalid", "there is a sealed_key and the room is not encrypted (leave it out)");
  }
}

/** What is stored of a room that its creator's statement makes. Errors: as of POST /rooms. */
async function newRoom(
  body: { readonly statement: Statement; readonly sealed_key?: string },
  caller: Caller,
  rules: CreateRules,
): Promise<NewRoom> {
  const parsed = readStatement(body.statement);
  checkCreator(parsed, body.statement, caller);
  checkPlace(parsed, caller, rules);
  const { endpoint, signPub, handle, kexPub, kexSig } = caller;
  if (kexPub === null || kexSig === null) {
    throw refuse("conflict", "your user has no kex_pub yet (PUT /users/me/keys first)");
  }
  checkSealedKey(parsed.policy.encrypt, body.sealed_key);
  const stay: StayRecord = {
    ...{ endpoint, sign_pub: signPub, kex_pub: kexPub, role: "owner" as const, since: 1, until: 0 },
    ...{ kex_sig: kexSig, handle, leftAt: null, devices: [], acceptedAt: rules.now(), addedBy: endpoint },
  };
  const room: RoomRecord = {
    roomId: parsed.roomId,
    subject: parsed.subject,
    policy: parsed.policy,
    epoch: 1,
    keyCheck: parsed.keyCheck,
    version: 1,
    statementHash: sha256Hex(body.statement.text),
    creator: endpoint,
    createdAt: rules.now(),
    deletedAt: null,
    rekeyPending: false,
  };
  const statement = await checkText(body.statement, stateOf(room, [stay], zeroHash));
  const keys =
    body.sealed_key === undefined ? [] : [{ endpoint, epoch: 1, sealedKey: body.sealed_key, chargedTo: endpoint }];
  return { room, stay, keys, statement };
}

/**
 * Creates a room: its stream first, then its row, so that the first message after the reply is kept.
 * Errors: invalid, forbidden, conflict, gone, quota as of POST /rooms; unavailable, and then there is no row.
 */
export async function createRoom(
  body: { readonly statement: Statement; readonly sealed_key?: string },
  caller: Caller,
  rules: CreateRules,
): Promise<RoomRecord> {
  const made = await newRoom(body, caller, rules);
  const { room } = made;
  // So that whoever has too many makes no stream first. What counts is what the store says when it adds the room.
  if ((await rules.store.countRoomsBy(caller.endpoint)) >= rules.perUserMax) throw tooManyRooms(rules);
  // One creation for an id and a subject at a time.
  const { places, quotas, newcomers } = rules;
  await quotas.create(made, () => places.hold(room.roomId, () => places.hold(room.subject, () => place(made, rules))));
  await newcomers.check(room.roomId, [made.stay]);
  return room;
}

async function place(made: NewRoom, rules: CreateRules): Promise<void> {
  const { store, streams, perUserMax } = rules;
  const { roomId, subject, policy } = made.room;
  const insert = async (): Promise<void> => {
    if (!(await store.insertRoom(made, perUserMax))) throw tooManyRooms(rules);
  };
  if (!policy.persist || streams === undefined) return insert();
  // The store finds out, too, but only after the stream was made: the loser must not touch that of the winner.
  const known = await store.getRoom(roomId);
  if (known !== null) throw takenRoomId(roomId, known.deletedAt !== null);
  if ((await store.findRoomId(subject)) !== null) throw takenSubject(subject);
  await streams.ensure(made.room);
  try {
    await insert();
  } catch (error) {
    // An answer can be lost where the row is not. A stream that stays behind, empty, is removed by the sweep.
    const row = await store.getRoom(roomId).catch(() => made.room);
    if (row === null) await streams.remove(roomId).catch(() => undefined);
    throw error;
  }
}
