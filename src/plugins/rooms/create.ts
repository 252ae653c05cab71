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

/** The dependencies of creating a room. */
export interface CreateRules {
  readonly store: RoomStore;
  readonly streams: RoomStreams | undefined;
  /** Locked by room id, then by subject. */
  readonly places: KeyedMutex;
  readonly namespaces: readonly string[];
  /** Namespaces in which only admins may create rooms. */
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
    throw refuse("conflict", `a new room starts at version 1, not ${parsed.version} (sign its first statement)`);
  }
  const isOnlyOwner = parsed.owners.length === 1 && parsed.owners[0] === caller.signPub;
  if (!isOnlyOwner || normalKey(statement.by) !== caller.signPub) {
    throw refuse("forbidden", "the first statement must be signed by its only owner, the caller (sign it yourself)");
  }
}

/** Checks that this caller may create this room here. Errors: invalid, forbidden. */
export function checkPlace(parsed: ParsedStatement, caller: Caller, rules: CreateRules): void {
  if (!isUlid(parsed.roomId))
    throw refuse("invalid", "line 2 (room_id) of the statement is not a ULID (make a fresh one)");
  const fault = subjectFault(parsed.subject, rules.namespaces);
  if (fault !== null) throw refuse("invalid", `line 5 (subject) of the statement: ${fault}`);
  const namespace = parsed.subject.split(".")[0] ?? "";
  if (rules.adminNamespaces.has(namespace) && caller.role !== "admin") {
    throw refuse("forbidden", `only admins may create rooms in ${namespace} (ask one, or choose another namespace)`);
  }
  if (!parsed.policy.encrypt && !rules.allowUnencrypted) {
    throw refuse(
      "forbidden",
      "unencrypted rooms are disabled on a public address (encrypt it, or set rooms.allow_unencrypted)",
    );
  }
}

/** The error for a creator at the limit of live rooms. */
export const tooManyRooms = ({ perUserMax }: CreateRules) =>
  refuse("quota", `room limit reached: rooms.per_user allows ${perUserMax} (delete one)`);

/** Checks that there is a sealed key exactly if the room is encrypted. Errors: invalid. */
export function checkSealedKey(encrypt: boolean, sealedKey: string | undefined): void {
  if (encrypt && sealedKey === undefined) {
    throw refuse("invalid", "sealed_key is missing but the room is encrypted (seal the room key to each member)");
  }
  if (!encrypt && sealedKey !== undefined) {
    throw refuse("invalid", "sealed_key is not allowed because the room is not encrypted (leave it out)");
  }
}

/** Builds the rows of a new room from its creator's statement. Errors: those of POST /rooms. */
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
    revision: 1,
  };
  const statement = await checkText(body.statement, stateOf(room, [stay], zeroHash));
  const keys =
    body.sealed_key === undefined ? [] : [{ endpoint, epoch: 1, sealedKey: body.sealed_key, chargedTo: endpoint }];
  return { room, stay, keys, statement };
}

/**
 * Creates a room: first its stream, then its row, so that the first message after the reply is stored.
 * Errors: invalid, forbidden, conflict, gone, quota as in POST /rooms; unavailable, and then no row exists.
 */
export async function createRoom(
  body: { readonly statement: Statement; readonly sealed_key?: string },
  caller: Caller,
  rules: CreateRules,
): Promise<RoomRecord> {
  const made = await newRoom(body, caller, rules);
  const { room } = made;
  // An early check, to create no stream for a creator over the limit. The store's check at insertion is authoritative.
  if ((await rules.store.countRoomsBy(caller.endpoint)) >= rules.perUserMax) throw tooManyRooms(rules);
  // One creation at a time for an id and for a subject.
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
  // The store checks this too, but only after the stream exists: the loser must not touch the winner's stream.
  const known = await store.getRoom(roomId);
  if (known !== null) throw takenRoomId(roomId, known.deletedAt !== null);
  if ((await store.findRoomId(subject)) !== null) throw takenSubject(subject);
  await streams.ensure(made.room);
  try {
    await insert();
  } catch (error) {
    // The insertion may have succeeded although its answer was lost. The sweep removes an empty stream that remains.
    const row = await store.getRoom(roomId).catch(() => made.room);
    if (row === null) await streams.remove(roomId).catch(() => undefined);
    throw error;
  }
}
