/**
 * Verifies the signed history of a room: the hash chain of its statements.
 *
 * A chain starts at statement 1, or at the version that the client pinned when it last saw the room. It only grows
 * forward: every statement must name the hash of the one before and be signed by an owner of that version. Older
 * statements can be walked later, for their key checks and the room's fingerprint; their hashes must lead to the start.
 * Used by `RoomTrust` to read a room, and by `older-chain.ts` after a restore from a backup.
 */
import type { Static } from "@sinclair/typebox";
import { signatureHolds } from "#verify";
import type { StatementList } from "../../wire/api.ts";
import { firstFault, stepFault } from "../../wire/chain.ts";
import { fromBase64, sha256Hex } from "../../wire/encoding.ts";
import type { UnibusError } from "../../wire/errors.ts";
import { roomFingerprint } from "../../wire/fingerprint.ts";
import { ownersMax, type ParsedStatement, parseStatement, zeroHash } from "../../wire/statement.ts";
import { type RoomPin, roomForked } from "./state.ts";

/** A statement as the server returns it, not yet verified. */
export type GivenStatement = Static<typeof StatementList>["statements"][number];

/** A verified statement. */
export interface Link {
  readonly text: string;
  /** Hex sha256 of the text, which the next statement names as `prev`. */
  readonly hash: string;
  readonly parsed: ParsedStatement;
}

/** How many of the latest versions keep their statement's hash in memory. */
const hashesMax = 4_096;

/**
 * The signed history of a room, verified as it arrives: from the first statement, or from one the client has seen.
 * Errors: room_forked for a statement that does not follow. Source: docs/protocol/rooms.md.
 */
export class Chain {
  #head: Link | null = null;
  #start: Link | null = null;
  readonly #hashes = new Map<number, string>();
  readonly #keyChecks = new Map<number, string>();

  #expected: RoomPin | null = null;
  readonly #fresh: GivenStatement[] = [];
  /** The hash of statement 1, if this chain was verified back to it. */
  #firstHash: string | null = null;
  #fingerprint: string | null = null;
  /** Whether the statements before the first one were read. */
  #hasWalked = false;

  constructor(readonly roomId: string) {}

  /** The newest statement. */
  get head(): Link | null {
    return this.#head;
  }

  /**
   * The version to read statements from. It includes the newest known one, so that a changed text of it is detected.
   */
  get from(): number {
    return this.#head?.parsed.version ?? this.#expected?.version ?? 1;
  }

  /** Requires the statement of the pin's version to have the pinned hash. An empty chain starts at that statement. */
  expect(pin: RoomPin): void {
    const known = this.#hashes.get(pin.version);
    if (known !== undefined && known !== pin.hash)
      throw this.forked(`there are two different statements of version ${pin.version}`);
    this.#expected = pin;
  }

  /** The room's fingerprint, if this chain verified the first statement. */
  get knownFingerprint(): string | null {
    return this.#fingerprint;
  }

  /** The hash of a version, if it is known and among the latest. */
  hashAt(version: number): string | null {
    return this.#hashes.get(version) ?? null;
  }

  /**
   * Whether the room has a statement of this version whose hash begins like this. Of versions older than the latest few
   * thousand, hashes are not kept, and every one counts: any member can name them.
   */
  hasStatement({ version, hash }: { readonly version: number; readonly hash: string }): boolean {
    const newest = this.#head?.parsed.version ?? 0;
    if (version < 1 || version > newest) return false;
    const known = this.#hashes.get(version);
    return known === undefined ? version <= newest - hashesMax : known.startsWith(hash);
  }

  /** Learns the hashes of the statements before the chain's first one. Shape: `read` as for `learnPast`. */
  async learnHashes(read: (from: number) => Promise<readonly GivenStatement[]>): Promise<void> {
    if (!this.#hasWalked) await this.#walkPast(read);
  }

  /** The key_check of an epoch, if it is known. */
  keyCheckAt(epoch: number): string | null {
    return this.#keyChecks.get(epoch) ?? null;
  }

  /** Version and hash of the first statement in this chain. */
  get start(): { readonly version: number; readonly hash: string } | null {
    return this.#start === null ? null : { version: this.#start.parsed.version, hash: this.#start.hash };
  }

  /** Returns the statements verified since the last call, in order. A pinned start is not included. */
  takeFresh(): GivenStatement[] {
    return this.#fresh.splice(0);
  }

  /** Appends the statements that follow. The newest known one may come first again. */
  async take(given: readonly GivenStatement[]): Promise<void> {
    for (const one of given) {
      const head = this.#head;
      const parsed = this.#parse(one);
      const hash = sha256Hex(one.text);
      if (head !== null && parsed.version === head.parsed.version) {
        if (hash !== head.hash) throw this.forked(`there are two different statements of version ${parsed.version}`);
        continue;
      }
      const isPinned = head === null && this.#expected !== null;
      if (parsed.version !== (head === null ? this.from : head.parsed.version + 1)) {
        throw this.forked(`statement ${parsed.version} is out of order`);
      }
      if (parsed.version === this.#expected?.version && hash !== this.#expected.hash) {
        throw this.forked(`version ${parsed.version} differs from the one that this client has seen`);
      }
      const link = { text: one.text, hash, parsed };
      if (!isPinned) await this.#check(head, link, one);
      if (!isPinned) this.#fresh.push(one);
      if (!isPinned && head === null) this.#fingerprint = roomFingerprint(one);
      this.#add(link);
    }
  }

  /**
   * Learns the key_checks of the epochs before the chain's first statement.
   * Shape: `read` returns the statements from a version on. Each names the hash of the one before it, and the chain's
   * first statement names the last one's. So they need no signature check.
   */
  async learnPast(read: (from: number) => Promise<readonly GivenStatement[]>): Promise<void> {
    if (!this.#keyChecks.has(1)) await this.#walkPast(read);
  }

  /**
   * The room's fingerprint. It covers the first statement and its signature, which this verifies.
   * Shape: `read` as for `learnPast`. A room that the client has opened before is walked back to its first statement.
   */
  async fingerprint(read: (from: number) => Promise<readonly GivenStatement[]>): Promise<string> {
    if (this.#fingerprint !== null) return this.#fingerprint;
    if (this.#firstHash === null) await this.#walkPast(read);
    const [first] = await read(1);
    if (first === undefined) throw this.forked("the first statement is missing");
    const link = { text: first.text, hash: sha256Hex(first.text), parsed: this.#parse(first) };
    if (link.hash !== this.#firstHash) throw this.forked("the later statements do not follow the first one");
    await this.#check(null, link, first);
    this.#fingerprint = roomFingerprint(first);
    return this.#fingerprint;
  }

  async #walkPast(read: (from: number) => Promise<readonly GivenStatement[]>): Promise<void> {
    const start = this.#start?.parsed;
    if (start === undefined) return;
    if (start.version === 1) {
      this.#firstHash = this.#start?.hash ?? null;
      this.#hasWalked = true;
      return;
    }
    const checks = new Map<number, string>();
    const hashes = new Map<number, string>();
    let [version, hash, firstHash] = [0, zeroHash, zeroHash];
    while (version < start.version - 1) {
      const given = (await read(version + 1)).filter((one) => one.version < start.version);
      if (given.length === 0) throw this.forked("the first statements are missing");
      for (const one of given) {
        const parsed = this.#parse(one);
        if (parsed.version !== version + 1 || parsed.prev !== hash) {
          throw this.forked(`statement ${parsed.version} does not follow the previous one`);
        }
        checks.set(parsed.epoch, parsed.keyCheck);
        [version, hash] = [parsed.version, sha256Hex(one.text)];
        if (version === 1) firstHash = hash;
        hashes.set(version, hash);
        hashes.delete(version - hashesMax);
      }
    }
    if (hash !== start.prev) throw this.forked("the later statements do not follow the first ones");
    for (const [epoch, check] of checks) this.#keyChecks.set(epoch, check);
    const newest = this.#head?.parsed.version ?? 0;
    for (const [known, its] of hashes) if (known > newest - hashesMax) this.#hashes.set(known, its);
    this.#firstHash = firstHash;
    this.#hasWalked = true;
  }

  /** The error for a room whose statements contradict each other. */
  forked(what: string): UnibusError {
    return roomForked(this.roomId, what);
  }

  #parse(given: GivenStatement): ParsedStatement {
    const parsed = parseStatement(given.text);
    if ("fault" in parsed) throw this.forked(parsed.fault);
    if (parsed.roomId !== this.roomId) throw this.forked("the server returned a statement of another room");
    if (parsed.version !== given.version || parsed.owners.length > ownersMax) {
      throw this.forked(`statement ${parsed.version} has the wrong version or too many owners`);
    }
    return parsed;
  }

  /** Checks that a statement follows, and that an owner of the version before signed it. */
  async #check(head: Link | null, { text, parsed }: Link, { by, sig }: GivenStatement): Promise<void> {
    const fault = head === null ? firstFault(parsed) : stepFault(head, parsed);
    if (fault !== null) throw this.forked(`statement ${parsed.version} ${fault.what}`);
    const signers = head?.parsed.owners ?? parsed.owners;
    const bytes = fromBase64(sig);
    if (!signers.includes(by) || bytes === null || !(await signatureHolds(by, text, bytes))) {
      throw this.forked(`statement ${parsed.version} is not signed by an owner`);
    }
  }

  #add(link: Link): void {
    const { version, epoch, keyCheck } = link.parsed;
    this.#start ??= link;
    this.#head = link;
    this.#hashes.set(version, link.hash);
    this.#hashes.delete(version - hashesMax);
    this.#keyChecks.set(epoch, keyCheck);
  }
}
