import type { Static } from "@sinclair/typebox";
import type { Background } from "../lib/background.ts";
import type { MemberList, RoomView } from "../wire/api.ts";
import { hasCode, isUnibusError, UnibusError } from "../wire/errors.ts";
import { policyDigits, statementText } from "../wire/statement.ts";
import { Chain, type GivenStatement, type Link } from "./chain.ts";
import type { ControlPlane } from "./control.ts";
import { type EpochClaim, EpochClaims } from "./epoch-claims.ts";
import { KeptRoom, verifyPast } from "./kept-room.ts";
import { RoomIdentity } from "./room-identity.ts";
import type { ClientState } from "./state.ts";
import { isOneLine, type VerifiedMember, type VerifiedRoom, verifiedRoom } from "./verified-room.ts";
import type { PeerKeys, Vouched } from "./vouched.ts";
import { OneAtATime, pause, waitFor } from "./wait.ts";

/** How often a room is read that changes while it is read. */
const readAttemptsMax = 6;
/** The longest pause between two such reads, in milliseconds. */
const readPauseMsMax = 100;
/** Of how many epochs it is remembered when they were learned of. */
const learnedMax = 64;
/** How many members' keys are checked at once. */
const vouchBatch = 256;

const unavailable = (what: string, roomId: string): UnibusError =>
  new UnibusError("unavailable", `room ${roomId} cannot be read: ${what} (try again)`);

/** What the trust in rooms is made from, the same for all rooms of a client. */
export interface TrustParts {
  readonly control: ControlPlane;
  readonly state: ClientState;
  readonly vouched: Vouched;
  /** Ends what is under way when the client closes. */
  readonly signal?: AbortSignal;
  /** Told once of a room that contradicts itself, whoever finds it. */
  readonly onFork?: (roomId: string, error: UnibusError) => void;
  /** Called once when the bus still shows an older epoch than an owner signed. */
  readonly onStale?: (roomId: string, claim: EpochClaim, error: UnibusError) => void;
  /** What goes on beside what callers wait for. */
  readonly background?: Background;
  /** Called with what goes wrong in the background and is tried again. */
  readonly onTrouble?: (error: unknown) => void;
}

/**
 * What a client believes of one room: what its owners signed, in an order that never goes back.
 *
 * The bus shows members and statements; each statement follows the one before, from the first or from the newest that
 * this client has seen, and is signed by an owner of the version before; the members are those that the newest one
 * names, each with a kex key that its user vouches for. The newest version is remembered before it is believed.
 * Whatever contradicts this is `room_forked`, and stays so for as long as this object lives: nothing is to be sent.
 * What it cannot know: whether the bus hides a newer version from a client that never saw it.
 * Source: spec 3.
 */
export class RoomTrust {
  readonly roomId: string;
  /** Later epochs that owners signed and the bus does not show. */
  readonly claims: EpochClaims;
  /** The room's fingerprint, and whether a person verified it. */
  readonly identity: RoomIdentity;
  /** What can be given back to a bus that lost it. */
  readonly kept: KeptRoom;
  /** Called when a new version was read. */
  onVersion: (() => void) | null = null;
  readonly #chain: Chain;
  readonly #past = new OneAtATime(() => this.#keepPast());
  readonly #reading = new OneAtATime(() => this.#guarded(() => this.#refresh()));
  readonly #pastReading = new OneAtATime(() => this.#guarded(() => this.#learnPast()));
  #room: VerifiedRoom | null = null;
  #fork: UnibusError | null = null;
  /** When each of the last epochs was learned of, ascending. */
  readonly #learned = new Map<number, number>();

  private constructor(
    roomId: string,
    private readonly parts: TrustParts,
  ) {
    this.roomId = roomId;
    this.#chain = new Chain(roomId);
    const { state, signal, onStale, onTrouble } = parts;
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
   * Reads and verifies a room. Where a `fingerprint` is given, one that has another is never taken for it.
   * Errors: room_forked; what the bus answers; those of the client's memory.
   */
  static async open(
    roomId: string,
    parts: TrustParts,
    {
      fingerprint,
      signal,
    }: { readonly fingerprint?: string | undefined; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<RoomTrust> {
    const trust = new RoomTrust(roomId, parts);
    if (fingerprint !== undefined) trust.identity.expect(fingerprint);
    await Promise.all([trust.claims.load(), trust.identity.load()]);
    await trust.refresh(signal);
    return trust;
  }

  /** The room as it was verified last. Errors: room_forked. */
  get room(): VerifiedRoom {
    if (this.#fork !== null) throw this.#fork;
    if (this.#room === null) throw new UnibusError("unavailable", `room ${this.roomId} was not read yet (try again)`);
    return this.#room;
  }

  /** Reads what is new, in a read that begins after this call, and verifies it. Errors: those of `open`. */
  refresh(signal?: AbortSignal): Promise<VerifiedRoom> {
    return waitFor(this.#reading.run(), signal);
  }

  /** The key_check that the owners signed for an epoch. Errors: not_found for one that the room has not had. */
  async keyCheckAt(epoch: number, signal?: AbortSignal): Promise<string> {
    if (this.room.state.epoch >= epoch && this.#chain.keyCheckAt(epoch) === null) {
      await waitFor(this.#pastReading.run(), signal);
    }
    const check = this.#chain.keyCheckAt(epoch);
    if (check === null) throw new UnibusError("not_found", `room ${this.roomId} has had no epoch ${epoch} yet`);
    return check;
  }

  /** The hash of a version's statement, where it is known and not long ago. */
  hashAt(version: number): string | null {
    return this.#chain.hashAt(version);
  }

  /** Since when an epoch above this one is known, in milliseconds since 1970; infinity for none. */
  newerSinceMs(epoch: number): number {
    for (const [learned, atMs] of this.#learned) if (learned > epoch) return atMs;
    return Number.POSITIVE_INFINITY;
  }

  /** Lets work go on beside what a caller waits for: a client that closes waits for it a moment. */
  inBackground(work: Promise<unknown>): void {
    if (this.parts.background !== undefined) this.parts.background.add(work);
    else work.catch(() => undefined);
  }

  /** Gives the room up, and the error that says why. */
  fork(what: string): UnibusError {
    return this.#giveUp(this.#chain.forked(what));
  }

  #giveUp(error: UnibusError): UnibusError {
    if (this.#fork !== null) return this.#fork;
    this.#fork = error;
    this.parts.onFork?.(this.roomId, error);
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
    this.#room = await this.#read();
    const { epoch, version } = this.#room.state;
    if (version !== known?.state.version) this.onVersion?.();
    if (!this.#learned.has(epoch)) this.#learned.set(epoch, this.parts.control.clock.steadyMs());
    for (const old of this.#learned.keys()) if (this.#learned.size > learnedMax) this.#learned.delete(old);
    return this.#room;
  }

  /** Whether the room is still as it is known: one small reply, which may not contradict what was signed. */
  async #isUnchanged(known: VerifiedRoom): Promise<boolean> {
    const { control, state, signal } = this.parts;
    const pin = await state.room(this.roomId);
    const seen = await control.room(this.roomId, signal);
    this.#checkView(seen, known);
    this.#checkFloor(seen.version, Math.max(known.state.version, pin?.version ?? 0));
    return seen.version === known.state.version && !seen.rekey_pending && known.leavers.size === 0;
  }

  #checkView(seen: Static<typeof RoomView>, { state }: VerifiedRoom): void {
    const isSame = seen.subject === state.subject && policyDigits(seen.policy) === policyDigits(state.policy);
    if (!isSame || seen.room_id !== this.roomId)
      throw this.#chain.forked("the bus says another subject or policy of it");
    if (seen.version === state.version && seen.epoch !== state.epoch) {
      throw this.#chain.forked("the bus says another epoch of it than was signed");
    }
  }

  #checkFloor(version: number, floor: number): void {
    if (version >= floor) return;
    const fix = "if its operator restored a backup: an owner runs unibus room repair";
    throw this.#chain.forked(`it went back from version ${floor} to ${version}, ${fix}`);
  }

  /** Reads the room until its parts belong together: a change may come between them. */
  async #read(): Promise<VerifiedRoom> {
    for (let attempt = 1; ; attempt++) {
      const read = await this.#readOnce();
      if (!isUnibusError(read)) return read;
      if (attempt === readAttemptsMax) throw read;
      await pause(Math.random() * readPauseMsMax, this.parts.signal);
    }
  }

  /** The room, or what to say where its parts still do not belong together when it has been read often enough. */
  async #readOnce(): Promise<VerifiedRoom | UnibusError> {
    const { control, state, signal } = this.parts;
    const pin = await state.room(this.roomId);
    if (pin !== null) this.#chain.expect(pin);
    // What was seen before the members were asked for is what they may not go behind.
    const floor = Math.max(this.#chain.head?.parsed.version ?? 0, pin?.version ?? 0);
    const reads = [control.members(this.roomId, signal), this.#follow()] as const;
    // Also where one fails, the next read must not meet the other.
    await Promise.allSettled(reads);
    const [list, { parsed, text, hash }] = await Promise.all(reads);
    this.#checkFloor(list.version, floor);
    this.#checkFloor(parsed.version, floor);
    if (list.version > parsed.version) return unavailable(`the bus shows no statement ${list.version}`, this.roomId);
    const lines = this.#linesOf(list);
    const { roomId, version, prev, subject, policy, epoch, keyCheck, owners } = parsed;
    const read = { roomId, version, prev, subject, policy, epoch, keyCheck, lines };
    if (statementText(read) !== text) return this.#chain.forked("its members are not those that its owners signed");
    await this.#checkKeys(lines);
    const fingerprint = await this.#fingerprint();
    // Before anything of a room is kept that is not the one which was meant.
    this.identity.check(fingerprint);
    const kept = await state.saveRoom(this.roomId, { version, hash, epoch, owners, firstOwners: owners });
    // Another process of this identity is ahead: what it has seen must be shown here, too.
    if (kept.version > version) return unavailable("it changes too fast", this.roomId);
    await this.identity.keep(fingerprint);
    await this.kept.addStatements(this.#chain.takeFresh());
    await this.kept.setMembers({ version, subject, members: lines });
    const past = this.#past.run();
    past.catch((error: unknown) => void (hasCode(error, "room_forked") && this.#giveUp(error)));
    this.inBackground(past);
    return verifiedRoom(read, hash, kept.firstOwners);
  }

  /** Takes the statements that are new. Gives the newest. */
  async #follow(): Promise<Link> {
    const { control, signal } = this.parts;
    for (;;) {
      const { from } = this.#chain;
      const { statements, more } = await control.statements(this.roomId, from, signal);
      if (statements.length === 0) throw this.#chain.forked(`the bus shows no statement ${from}`);
      await this.#chain.take(statements);
      const { head } = this.#chain;
      if (!more && head !== null) return head;
      if (this.#chain.from === from) {
        throw unavailable("the bus cuts its statements short", this.roomId);
      }
    }
  }

  /** What the first statement says, if it was read; else what was kept, so that it is read once. */
  async #fingerprint(): Promise<string> {
    const known = this.#chain.knownFingerprint ?? this.identity.fingerprint;
    return known ?? this.#chain.fingerprint((from) => this.#statements(from));
  }

  async #learnPast(): Promise<void> {
    await this.#chain.learnPast((from) => this.#statements(from));
  }

  async #statements(from: number): Promise<readonly GivenStatement[]> {
    const { control, signal } = this.parts;
    return (await control.statements(this.roomId, from, signal)).statements;
  }

  /**
   * Keeps the statements before the one where this client began to read: an earlier version of this program kept none.
   * Errors: room_forked where they do not lead there.
   */
  async #keepPast(): Promise<void> {
    const [kept, start] = [await this.kept.version(), this.#chain.start];
    if (kept === null || start === null || kept.complete >= start.version) return;
    const before = (await this.kept.statements()).get(kept.complete) ?? null;
    const given: GivenStatement[] = [];
    for (let from = kept.complete + 1; from <= start.version; from = (given.at(-1)?.version ?? from) + 1) {
      const page = (await this.#statements(from)).filter(({ version }) => version <= start.version);
      if (page.length === 0) throw this.#chain.forked("its first statements are missing");
      given.push(...page);
    }
    await verifyPast(this.roomId, before, given, start);
    await this.kept.addStatements(given);
  }

  #linesOf({ members }: Static<typeof MemberList>): VerifiedMember[] {
    if (!members.every(isOneLine)) throw this.#chain.forked("its members are not as members are");
    return members;
  }

  async #checkKeys(members: readonly PeerKeys[]): Promise<void> {
    for (let at = 0; at < members.length; at += vouchBatch) {
      const batch = members.slice(at, at + vouchBatch);
      const faults = await Promise.all(batch.map((member) => this.parts.vouched.faultOf(member)));
      const wrong = faults.findIndex((fault) => fault !== null);
      if (wrong !== -1) throw this.#chain.forked(`its member ${batch[wrong]?.endpoint} ${faults[wrong]}`);
    }
  }
}
