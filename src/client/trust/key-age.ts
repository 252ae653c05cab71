/**
 * Tracks the age of a room's key in an owner's client: when the client first saw the epoch, and how many messages were
 * sent in it. Statements have no timestamps, so each client measures the age and keeps it in its state.
 */
import type { ControlPlane } from "../transport/control.ts";
import type { ClientState } from "./state.ts";

/** When an owner's client replaces a room's key. Zero means never. */
export interface KeyLifetime {
  /** Days since this client first saw the key. */
  readonly days: number;
  /** Messages sent under the key. */
  readonly messages: number;
}

/** The default lifetime. */
export const keyLifetimeDefault: KeyLifetime = { days: 30, messages: 100_000 };

const dayMs = 86_400_000;
/** The count is saved each time after this number of messages. A program that ends loses the count since then. */
const saveEvery = 1_000;

/** The stored form. */
interface AgeNote {
  readonly epoch: number;
  /** When this client first saw the epoch, in milliseconds since 1970. */
  readonly sinceMs: number;
  /** The sequence number of the room's last message at that time; zero in a room without history. */
  readonly sinceSeq: number;
  /** The message count in a room without history. */
  readonly messages: number;
}

function noteOf(note: unknown): AgeNote | null {
  const { epoch, sinceMs, sinceSeq, messages } = (note ?? {}) as Record<keyof AgeNote, unknown>;
  const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;
  // Corrupt data restarts the age. At worst a key is replaced later.
  return isCount(epoch) && isCount(sinceMs) && isCount(sinceSeq) && isCount(messages)
    ? { epoch, sinceMs, sinceSeq, messages }
    : null;
}

interface KeyAgeDeps {
  readonly roomId: string;
  readonly persist: boolean;
  readonly control: ControlPlane;
  readonly state: ClientState;
  readonly lifetime: KeyLifetime;
  readonly signal: AbortSignal;
}

/** The age of one room's key. */
export class KeyAge {
  #note: AgeNote | null = null;
  /** Messages of this epoch: those in the history before this program looked, and those it has counted since. */
  #messages = 0;

  constructor(private readonly deps: KeyAgeDeps) {}

  /**
   * Loads the age of an epoch's key. The age of an epoch that is new to this client starts now.
   * Errors: those of GET history and of the client's state.
   */
  async look(epoch: number): Promise<void> {
    if (this.#note?.epoch === epoch) return;
    const { roomId, persist, control, state, signal } = this.deps;
    const kept = noteOf(await state.note(roomId, "key"));
    const lastSeq = persist ? (await control.history(roomId, { limit: 1 }, signal)).last_seq : 0;
    if (kept?.epoch === epoch) {
      this.#note = kept;
      this.#messages = persist ? Math.max(0, lastSeq - kept.sinceSeq) : kept.messages;
      return;
    }
    this.#messages = 0;
    await this.#save({ epoch, sinceMs: Date.now(), sinceSeq: lastSeq, messages: 0 });
  }

  /** Counts a message that was sent or received. */
  count(): void {
    this.#messages += 1;
    const note = this.#note;
    if (this.deps.persist || note === null || this.#messages % saveEvery !== 0) return;
    void this.#save({ ...note, messages: this.#messages }).catch(() => undefined);
  }

  /** Whether the key of an epoch has reached its lifetime. False if `look` was not called for it. */
  isOver(epoch: number): boolean {
    if (this.#note?.epoch !== epoch) return false;
    const { days, messages } = this.deps.lifetime;
    const isOld = days > 0 && Date.now() - this.#note.sinceMs >= days * dayMs;
    return isOld || (messages > 0 && this.#messages >= messages);
  }

  async #save(note: AgeNote): Promise<void> {
    this.#note = note;
    await this.deps.state.saveNote(this.deps.roomId, "key", note);
  }
}
