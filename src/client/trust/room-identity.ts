/**
 * Identifies a room for people: its fingerprint, whether a person has verified it, and which of its owners they
 * approved. A client that opens a room for the first time trusts the server; a fingerprint from another channel, in a
 * link or read aloud, replaces that trust. Stored in the client's state. Source: docs/protocol/rooms.md.
 */
import type { UnibusError } from "../../wire/errors.ts";
import { fingerprintWords, isFingerprint } from "../../wire/fingerprint.ts";
import { type ClientState, corruptState, roomForked } from "./state.ts";

/** How a room was verified: this client created it, or a person opened its link, or compared its words. */
export type VerifiedBy = "created" | "link" | "words";

/** The stored form. Shape: the fingerprint as 22 hex digits, approved owners by endpoint. */
interface IdentityNote {
  readonly fingerprint: string;
  readonly verifiedBy: VerifiedBy | null;
  readonly approved: readonly string[];
}

const ways: ReadonlySet<unknown> = new Set<VerifiedBy>(["created", "link", "words"]);

function noteOf(note: unknown): IdentityNote | null {
  const { fingerprint, verifiedBy, approved } = (note ?? {}) as Record<keyof IdentityNote, unknown>;
  const isWay = verifiedBy === null || ways.has(verifiedBy);
  const areEndpoints = Array.isArray(approved) && approved.every((one) => typeof one === "string");
  if (!isFingerprint(fingerprint) || !isWay || !areEndpoints) return null;
  return { fingerprint, verifiedBy: verifiedBy as VerifiedBy | null, approved: approved as string[] };
}

/** The identity of one room. */
export class RoomIdentity {
  #note: IdentityNote | null = null;
  /** The fingerprint in the link by which the room is opened. */
  #expected: string | null = null;

  constructor(
    private readonly roomId: string,
    private readonly state: ClientState,
  ) {}

  /** Loads the stored identity. Errors: those of the client's state; invalid if it is corrupt. */
  async load(): Promise<void> {
    const kept = await this.state.note(this.roomId, "identity");
    this.#note = noteOf(kept);
    if (kept !== null && this.#note === null) throw corruptState(`the identity of room ${this.roomId}`);
  }

  /** 22 hex digits; null before the room was first read. */
  get fingerprint(): string | null {
    return this.#note?.fingerprint ?? null;
  }

  /** How the room was verified; null if the client only trusts the server. */
  get verifiedBy(): VerifiedBy | null {
    return this.#note?.verifiedBy ?? null;
  }

  /** Sets the fingerprint that the room must have. Call it before the room is first read. */
  expect(fingerprint: string): void {
    this.#expected = fingerprint;
  }

  /** Compares a fingerprint with the expected and the stored one. Errors: room_forked if it differs. */
  check(fingerprint: string): void {
    for (const wanted of [this.#expected, this.fingerprint]) {
      if (wanted !== null && wanted !== fingerprint) throw this.#mismatch(fingerprint, wanted);
    }
  }

  /** Stores the fingerprint of a room that was read for the first time. */
  async keep(fingerprint: string, verifiedBy: VerifiedBy | null = null): Promise<void> {
    if (this.#note === null) await this.#save({ fingerprint, verifiedBy, approved: [] });
  }

  /**
   * Marks the room as verified. If it already is, the first way is kept.
   * Errors: room_forked if the fingerprint differs: this is not the intended room.
   */
  async verify(fingerprint: string, by: VerifiedBy): Promise<void> {
    const note = this.#note;
    if (note === null || note.fingerprint !== fingerprint) throw this.#mismatch(note?.fingerprint, fingerprint);
    if (note.verifiedBy === null) await this.#save({ ...note, verifiedBy: by });
  }

  /** Whether a person approved an owner whose handle is pinned to another user. */
  isApproved(endpoint: string): boolean {
    return this.#note?.approved.includes(endpoint) === true;
  }

  /** Approves owners by their endpoints. */
  async approve(endpoints: readonly string[]): Promise<void> {
    if (this.#note === null) return;
    await this.#save({ ...this.#note, approved: [...new Set([...this.#note.approved, ...endpoints])] });
  }

  #mismatch(has: string | undefined, given: string): UnibusError {
    const shown = has === undefined ? "is unknown" : `is "${fingerprintWords(has)}"`;
    return roomForked(this.roomId, `the fingerprint ${shown}, not "${fingerprintWords(given)}"`);
  }

  async #save(note: IdentityNote): Promise<void> {
    await this.state.saveNote(this.roomId, "identity", note);
    this.#note = note;
  }
}
