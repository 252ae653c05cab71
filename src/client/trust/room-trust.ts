/**
 * Verifies rooms: reads a room from the server and checks it against its owners' signatures and this client's pins.
 *
 * A `RoomTrust` has a verified room, or is forked, which is final: every access then throws `room_forked`. Reads are
 * serialized, and each one either moves the room forward or leaves it unchanged. It also owns what is stored of the
 * room: pin, identity, claims and copy. Used by `Room` and everything that reads or changes one.
 */
import type { Static } from "@sinclair/typebox";
import type { Background } from "../../lib/background.ts";
import type { MemberList, RoomView } from "../../wire/api.ts";
import { hasCode, isUnibusError, UnibusError } from "../../wire/errors.ts";
import { policyDigits, statementText } from "../../wire/statement.ts";
import type { PeerKeys, VerifiedKeys } from "../crypto/verified-keys.ts";
import type { ControlPlane } from "../transport/control.ts";
import { OneAtATime, pause, waitFor } from "../transport/wait.ts";
import { Chain, type GivenStatement, type Link } from "./chain.ts";
import { type EpochClaim, EpochClaims } from "./epoch-claims.ts";
import { KeptRoom, verifyPast } from "./kept-room.ts";
import { type MemberStep, memberSteps, type SignedStep, signedStep } from "./member-steps.ts";
import { RoomIdentity } from "./room-identity.ts";
import type { ClientState } from "./state.ts";
import { isOneLine, type VerifiedMember, type VerifiedRoom, verifiedRoom } from "./verified-room.ts";

/** How many times a room is read that changes during the read. */
const readAttemptsMax = 6;
/** The longest pause between two such reads, in milliseconds. */
const readPauseMsMax = 100;
/** For how many epochs the time at which they were learned is remembered. */
const learnedMax = 64;
/** The most statements that are new to this client in one read: at 60 a minute a room makes these in two days. */
export const newStatementsMax = 200_000;
/** How many members' keys are verified at once. */
const vouchBatch = 256;

const unavailable = (what: string, roomId: string): UnibusError =>
  new UnibusError("unavailable", `cannot read room ${roomId}: ${what} (try again)`);

/** The dependencies of `RoomTrust`, shared by all rooms of a client. */
export interface RoomTrustDeps {
  readonly control: ControlPlane;
  readonly state: ClientState;
  readonly vouched: VerifiedKeys;
  /** Aborts requests when the client closes. */
  readonly signal?: AbortSignal;
  /** Called once for a forked room, whichever part of the client detects it. */
  readonly onFork?: (roomId: string, error: UnibusError) => void;
  /** Called once if the server still shows an older epoch than an owner signed. */
  readonly onStale?: (roomId: string, claim: EpochClaim, error: UnibusError) => void;
  /** Tracks background work. */
  readonly background?: Background;
  /** Called with errors of background work that will be retried. */
  readonly onTrouble?: (error: unknown) => void;
  /** The most new statements of one read; tests lower it. */
  readonly statementsMax?: number;
}

/**
 * The verified state of one room: what its owners signed, which never goes back.
 *
 * The server shows members and statements. Each statement follows the one before, from the first or from the newest
 * that this client has seen, and is signed by an owner of the version before. The members are those that the newest
 * statement names, each with a kex key signed by that user. The newest version is pinned before it is used. Any
 * contradiction is `room_forked` for the lifetime of this object: nothing may be sent. It cannot detect a server that
 * hides a newer version from a client that never saw it. Source: docs/protocol/rooms.md.
 */
export class RoomTrust {
  readonly roomId: string;
  /** Later epochs that owners signed and the server does not show. */
  readonly claims: EpochClaims;
  /** The room's fingerprint, and whether a person verified it. */
  readonly identity: RoomIdentity;
  /** The copy from which a server that lost the room can restore it. */
  readonly kept: KeptRoom;
  /** Called with what changed since the version that was read before. */
  onSteps: ((steps: MemberStep<VerifiedMember>[]) => void) | null = null;
  readonly #chain: Chain;
  readonly #onVersion = new Set<() => void>();
  readonly #past = new OneAtATime(() => this.#keepPast());
  readonly #reading = new OneAtATime(() => this.#guarded(() => this.#refresh()));
  readonly #pastReading = new OneAtATime(() => this.#guarded(() => this.#learnPast()));
  readonly #hashReading = new OneAtATime(() => this.#guarded(() => this.#learnHashes()));
  #room: VerifiedRoom | null = null;
  #fork: UnibusError | null = null;
  /** When each of the latest epochs was learned, in ascending order. */
  readonly #learned = new Map<number, number>();
  /** The statements after the version of `#room`. */
  readonly #signed: SignedStep[] = [];

  private constructor(
    roomId: string,
    private readonly deps: RoomTrustDeps,
  ) {
    this.roomId = roomId;
    this.#chain = new Chain(roomId);
    const { state, signal, onStale, onTrouble } = deps;
    this.identity = new RoomIdentity(roomId, state);
    this.kept = new KeptRoom(roomId, state);
    this.claims = new EpochClaims({
      roomId,
      state,
      signal,
      refresh: () => this.refresh(),
      onStale: (claim, error) => onStale?.(roomId, claim, error),
      onTrouble: (error) => onTrouble?.(error),
    });
  }

  /**
   * Reads and verifies a room. If a `fingerprint` is given, a room with another one is rejected.
   * Errors: room_forked; what the server answers; those of the client's state.
   */
  static async open(
    roomId: string,
    deps: RoomTrustDeps,
    {
      fingerprint,
      signal,
    }: { readonly fingerprint?: string | undefined; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<RoomTrust> {
    const trust = new RoomTrust(roomId, deps);
    if (fingerprint !== undefined) trust.identity.expect(fingerprint);
    await Promise.all([trust.claims.load(), trust.identity.load()]);
    await trust.refresh(signal);
    return trust;
  }

  /** The room as last verified. Errors: room_forked. */
  get room(): VerifiedRoom {
    if (this.#fork !== null) throw this.#fork;
    if (this.#room === null)
      throw new UnibusError("unavailable", `room ${this.roomId} has not been read yet (try again)`);
    return this.#room;
  }

  /** Whether the room was found to be forked: every other access throws. */
  get isForked(): boolean {
    return this.#fork !== null;
  }

  /** Reads and verifies changes, in a read that starts after this call. Errors: those of `open`. */
  refresh(signal?: AbortSignal): Promise<VerifiedRoom> {
    return waitFor(this.#reading.run(), signal);
  }

  /**
   * The key_check that the owners signed for an epoch. Errors: not_found for an epoch that the room has not reached.
   */
  async keyCheckAt(epoch: number, signal?: AbortSignal): Promise<string> {
    if (this.room.state.epoch >= epoch && this.#chain.keyCheckAt(epoch) === null) {
      await waitFor(this.#pastReading.run(), signal);
    }
    const check = this.#chain.keyCheckAt(epoch);
    if (check === null) throw new UnibusError("not_found", `room ${this.roomId} has not reached epoch ${epoch} yet`);
    return check;
  }

  /** The hash of a version's statement, if it is known and among the latest. */
  hashAt(version: number): string | null {
    return this.#chain.hashAt(version);
  }

  /** Whether the room has a statement of this version whose hash begins like this, as far as this client has read. */
  hasStatement(statement: { readonly version: number; readonly hash: string }): boolean {
    return this.#chain.hasStatement(statement);
  }

  /** Whether `learnStatements` has to read anything to know a version. */
  isBeforeStart(version: number): boolean {
    return version < (this.#chain.start?.version ?? 1) && this.#chain.hashAt(version) === null;
  }

  /** Reads the statements before the first one that this client needed so far. Errors: those of `open`. */
  learnStatements(signal?: AbortSignal): Promise<void> {
    return waitFor(this.#hashReading.run(), signal);
  }

  /** Calls `listener` when a new version was read, until the returned function is called. */
  onVersion(listener: () => void): () => void {
    this.#onVersion.add(listener);
    return () => void this.#onVersion.delete(listener);
  }

  /** Since when a later epoch than this one is known, in milliseconds of the monotonic clock; infinity if none is. */
  newerSinceMs(epoch: number): number {
    for (const [learned, atMs] of this.#learned) if (learned > epoch) return atMs;
    return Number.POSITIVE_INFINITY;
  }

  /** Runs work in the background. A closing client waits for it for a limited time. */
  inBackground(work: Promise<unknown>): void {
    if (this.deps.background !== undefined) this.deps.background.add(work);
    else work.catch(() => undefined);
  }

  /** Marks the room as forked. Returns the error. */
  fork(what: string): UnibusError {
    return this.#giveUp(this.#chain.forked(what));
  }

  #giveUp(error: UnibusError): UnibusError {
    if (this.#fork !== null) return this.#fork;
    this.#fork = error;
    this.deps.onFork?.(this.roomId, error);
    return error;
  }

  async #guarded<T>(work: () => Promise<T>): Promise<T> {
    if (this.#fork !== null) throw this.#fork;
    try {
      const done = await work();
      if (this.#fork !== null) throw this.#fork;
      return done;
    } catch (error) {
      throw hasCode(error, "room_forked") ? this.#giveUp(error) : error;
    }
  }

  async #refresh(): Promise<VerifiedRoom> {
    const known = this.#room;
    if (known !== null && (await this.#isUnchanged(known))) return known;
    const room = await this.#read();
    this.#room = room;
    const { epoch, version } = room.state;
    const signed = this.#signed.splice(0);
    if (version !== known?.state.version) for (const listener of this.#onVersion) listener();
    if (known !== null && signed.length > 0) {
      this.onSteps?.(memberSteps(known.state, [...room.members.values()].flat(), signed));
    }
    if (!this.#learned.has(epoch)) this.#learned.set(epoch, this.deps.control.clock.steadyMs());
    for (const old of this.#learned.keys()) if (this.#learned.size > learnedMax) this.#learned.delete(old);
    return this.#room;
  }

  /**
   * Whether the room has not changed since the last read. Reads one small reply, which must not contradict the
   * signatures.
   */
  async #isUnchanged(known: VerifiedRoom): Promise<boolean> {
    const { control, state, signal } = this.deps;
    const pin = await state.room(this.roomId);
    const seen = await control.room(this.roomId, signal);
    this.#checkView(seen, known);
    this.#checkFloor(seen.version, Math.max(known.state.version, pin?.version ?? 0));
    return seen.version === known.state.version && !seen.rekey_pending && known.leavers.size === 0;
  }

  #checkView(seen: Static<typeof RoomView>, { state }: VerifiedRoom): void {
    const isSame = seen.subject === state.subject && policyDigits(seen.policy) === policyDigits(state.policy);
    if (!isSame || seen.room_id !== this.roomId)
      throw this.#chain.forked("the server returned another id, subject or policy than the owners signed");
    if (seen.version === state.version && seen.epoch !== state.epoch) {
      throw this.#chain.forked("the server returned another epoch than the owners signed");
    }
  }

  #checkFloor(version: number, floor: number): void {
    if (version >= floor) return;
    const fix = "if the operator restored a backup, an owner can run unibus room repair";
    throw this.#chain.forked(`the server went back from version ${floor} to ${version}; ${fix}`);
  }

  /** Reads the room until its parts are consistent: a change may happen between the requests. */
  async #read(): Promise<VerifiedRoom> {
    for (let attempt = 1; ; attempt++) {
      const read = await this.#readOnce();
      if (!isUnibusError(read)) return read;
      if (attempt === readAttemptsMax) throw read;
      await pause(Math.random() * readPauseMsMax, this.deps.signal);
    }
  }

  /** Reads the room once. If its parts are not consistent, returns the error to throw after the last attempt. */
  async #readOnce(): Promise<VerifiedRoom | UnibusError> {
    const { control, state, signal } = this.deps;
    const pin = await state.room(this.roomId);
    if (pin !== null) this.#chain.expect(pin);
    // The minimum version of the member list: everything seen before it is requested.
    const floor = Math.max(this.#chain.head?.parsed.version ?? 0, pin?.version ?? 0);
    const reads = [control.members(this.roomId, signal), this.#follow()] as const;
    // Wait for both, even if one fails, so that the next read does not overlap the other.
    await Promise.allSettled(reads);
    const [list, { parsed, text, hash }] = await Promise.all(reads);
    this.#checkFloor(list.version, floor);
    this.#checkFloor(parsed.version, floor);
    if (list.version > parsed.version)
      return unavailable(`the server does not return statement ${list.version}`, this.roomId);
    const lines = this.#linesOf(list);
    const { roomId, version, prev, subject, policy, epoch, keyCheck, owners } = parsed;
    const read = { roomId, version, prev, subject, policy, epoch, keyCheck, lines };
    if (statementText(read) !== text)
      return this.#chain.forked("the member list differs from the one that the owners signed");
    await this.#checkKeys(lines);
    const fingerprint = await this.#fingerprint();
    // Before anything is stored of a room that may not be the intended one.
    this.identity.check(fingerprint);
    const kept = await state.saveRoom(this.roomId, { version, hash, epoch, owners, firstOwners: owners });
    // Another process of this identity is ahead. The server must show here what that process has seen.
    if (kept.version > version) return unavailable("it changed during the read", this.roomId);
    await this.identity.keep(fingerprint);
    const fresh = this.#chain.takeFresh();
    // Before the first read there is nothing to compare with.
    if (this.#room !== null) this.#signed.push(...fresh.map(signedStep));
    await this.kept.addStatements(fresh);
    await this.kept.setMembers({ version, subject, members: lines });
    const past = this.#past.run();
    past.catch((error: unknown) => void (hasCode(error, "room_forked") && this.#giveUp(error)));
    this.inBackground(past);
    return verifiedRoom(read, hash, kept.firstOwners);
  }

  /** Reads the new statements. Returns the newest. */
  async #follow(): Promise<Link> {
    const { control, signal, statementsMax: most = newStatementsMax } = this.deps;
    for (let count = 0; ; ) {
      const { from } = this.#chain;
      const { statements, more } = await control.statements(this.roomId, from, signal);
      if (statements.length === 0) throw this.#chain.forked(`the server does not return statement ${from}`);
      count += statements.length;
      if (count > most) throw unavailable(`the server returns more than ${most} new statements`, this.roomId);
      await this.#chain.take(statements);
      const { head } = this.#chain;
      if (!more && head !== null) return head;
      if (this.#chain.from === from) {
        throw unavailable("the server returned incomplete statements", this.roomId);
      }
    }
  }

  /** The fingerprint from the first statement if it was read, else the stored one, so that it is read only once. */
  async #fingerprint(): Promise<string> {
    const known = this.#chain.knownFingerprint ?? this.identity.fingerprint;
    return known ?? this.#chain.fingerprint((from) => this.#statements(from));
  }

  async #learnPast(): Promise<void> {
    await this.#chain.learnPast((from) => this.#statements(from));
  }

  async #learnHashes(): Promise<void> {
    await this.#chain.learnHashes((from) => this.#statements(from));
  }

  async #statements(from: number): Promise<readonly GivenStatement[]> {
    const { control, signal } = this.deps;
    return (await control.statements(this.roomId, from, signal)).statements;
  }

  /**
   * Stores the statements before the chain's start. An earlier version of this program stored none.
   * Errors: room_forked if they do not lead there.
   */
  async #keepPast(): Promise<void> {
    const [kept, start] = [await this.kept.version(), this.#chain.start];
    if (kept === null || start === null || kept.complete >= start.version) return;
    const before = (await this.kept.statements()).get(kept.complete) ?? null;
    const given: GivenStatement[] = [];
    for (let from = kept.complete + 1; from <= start.version; from = (given.at(-1)?.version ?? from) + 1) {
      const page = (await this.#statements(from)).filter(({ version }) => version <= start.version);
      // A page that does not go on would be read for ever.
      if ((page.at(-1)?.version ?? 0) < from) throw this.#chain.forked("the first statements are missing");
      given.push(...page);
    }
    await verifyPast(this.roomId, before, given, start);
    await this.kept.addStatements(given);
  }

  #linesOf({ members }: Static<typeof MemberList>): VerifiedMember[] {
    if (!members.every(isOneLine)) throw this.#chain.forked("the member list is malformed");
    return members;
  }

  async #checkKeys(members: readonly PeerKeys[]): Promise<void> {
    for (let at = 0; at < members.length; at += vouchBatch) {
      const batch = members.slice(at, at + vouchBatch);
      const faults = await Promise.all(batch.map((member) => this.deps.vouched.faultOf(member)));
      const wrong = faults.findIndex((fault) => fault !== null);
      if (wrong !== -1) throw this.#chain.forked(`member ${batch[wrong]?.endpoint} ${faults[wrong]}`);
    }
  }
}
