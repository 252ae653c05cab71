/**
 * Which room this is, as far as people can tell: its fingerprint, whether a person has verified it, and which of its
 * owners they approved. A client that opens a room for the first time takes the bus's word for it; a fingerprint that
 * comes by another channel, in a link or read aloud, replaces that word. Kept in the client's state. Source: spec 3.
 */
import type { UnibusError } from "../wire/errors.ts";
import { fingerprintWords, isFingerprint } from "../wire/fingerprint.ts";
import { type ClientState, corruptState, roomForked } from "./state.ts";

/** How it was verified: this client made the room, or a person opened it by its link, or compared its words. */
export type VerifiedBy = "created" | "link" | "words";

/** The note as it is kept. Shape: the fingerprint as 22 hex digits, approved owners by endpoint. */
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
  /** What a link said before the room was opened. */
  #expected: string | null = null;

  constructor(
    private readonly roomId: string,
    private readonly state: ClientState,
  ) {}

  /** Reads what was kept. Errors: those of the client's state; invalid where it is damaged. */
  async load(): Promise<void> {
    const kept = await this.state.note(this.roomId, "identity");
    this.#note = noteOf(kept);
    if (kept !== null && this.#note === null) throw corruptState(`the identity of room ${this.roomId}`);
  }

  /** 22 hex digits; null before the room was read for the first time. */
  get fingerprint(): string | null {
    return this.#note?.fingerprint ?? null;
  }

  /** How a person verified the room; null while it is the bus's word alone. */
  get verifiedBy(): VerifiedBy | null {
    return this.#note?.verifiedBy ?? null;
  }

  /** Names the fingerprint that the room must have: asked for before it is read for the first time. */
  expect(fingerprint: string): void {
    this.#expected = fingerprint;
  }

  /** Errors: room_forked where a fingerprint is not the one that a link gave, or that was kept before. */
  check(fingerprint: string): void {
    for (const wanted of [this.#expected, this.fingerprint]) {
      if (wanted !== null && wanted !== fingerprint) throw this.#mismatch(fingerprint, wanted);
    }
  }

  /** Keeps the fingerprint of a room that was read for the first time. */
  async keep(fingerprint: string, verifiedBy: VerifiedBy | null = null): Promise<void> {
    if (this.#note === null) await this.#save({ fingerprint, verifiedBy, approved: [] });
  }

  /**
   * Marks the room as verified. The first way stays.
   * Errors: room_forked where the fingerprint is another one: this room is not the one that was meant.
   */
  async verify(fingerprint: string, by: VerifiedBy): Promise<void> {
    const note = this.#note;
    if (note === null || note.fingerprint !== fingerprint) throw this.#mismatch(note?.fingerprint, fingerprint);
    if (note.verifiedBy === null) await this.#save({ ...note, verifiedBy: by });
  }

  /** Whether a person approved an owner whose handle is pinned to somebody else. */
  isApproved(endpoint: string): boolean {
    return this.#note?.approved.includes(endpoint) === true;
  }

  /** Approves owners by their endpoints. */
  async approve(endpoints: readonly string[]): Promise<void> {
    if (this.#note === null) return;
    await this.#save({ ...this.#note, approved: [...new Set([...this.#note.approved, ...endpoints])] });
  }

  #mismatch(has: string | undefined, given: string): UnibusError {
    const shown = has === undefined ? "is not known" : `is "${fingerprintWords(has)}"`;
    return roomForked(this.roomId, `its fingerprint ${shown}, not "${fingerprintWords(given)}"`);
  }

  async #save(note: IdentityNote): Promise<void> {
    await this.state.saveNote(this.roomId, "identity", note);
    this.#note = note;
  }
}
