/**
 * How old a room's key is, as one owner's client knows it: since when it has seen the epoch, and how many messages were
 * said in it. A statement carries no time, so the age is counted by each client and kept in its state.
 */
import type { ControlPlane } from "./control.ts";
import type { ClientState } from "./state.ts";

/** When an owner's client replaces a room's key. Zero means never. */
export interface KeyLifetime {
  /** Days since this client first saw the key. */
  readonly days: number;
  /** Messages said under the key. */
  readonly messages: number;
}

/** The lifetime where nothing is set. */
export const keyLifetimeDefault: KeyLifetime = { days: 30, messages: 100_000 };

const dayMs = 86_400_000;
/** After how many messages the count is saved: what a program counted since is lost with it. */
const saveEvery = 1_000;

/** The note as it is kept. */
interface AgeNote {
  readonly epoch: number;
  /** When this client first saw the epoch, in milliseconds since 1970. */
  readonly sinceMs: number;
  /** The sequence of the room's last message then; zero in a room that keeps none. */
  readonly sinceSeq: number;
  /** Messages counted in a room that keeps none. */
  readonly messages: number;
}

function noteOf(note: unknown): AgeNote | null {
  const { epoch, sinceMs, sinceSeq, messages } = (note ?? {}) as Record<keyof AgeNote, unknown>;
  const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;
  // What is damaged is begun again: the worst is that a key lives longer.
  return isCount(epoch) && isCount(sinceMs) && isCount(sinceSeq) && isCount(messages)
    ? { epoch, sinceMs, sinceSeq, messages }
    : null;
}

interface KeyAgeParts {
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
  /** Messages of this epoch: kept ones before this program looked, and those that it counted since. */
  #messages = 0;

  constructor(private readonly parts: KeyAgeParts) {}

  /**
   * Looks up how old the key of an epoch is; an epoch that is new to this client begins now.
   * Errors: those of GET history and of the client's state.
   */
  async look(epoch: number): Promise<void> {
    if (this.#note?.epoch === epoch) return;
    const { roomId, persist, control, state, signal } = this.parts;
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
    if (this.parts.persist || note === null || this.#messages % saveEvery !== 0) return;
    void this.#save({ ...note, messages: this.#messages }).catch(() => undefined);
  }

  /** Whether the key of an epoch has lived as long as it may. False where it was not looked up. */
  isOver(epoch: number): boolean {
    if (this.#note?.epoch !== epoch) return false;
    const { days, messages } = this.parts.lifetime;
    const isOld = days > 0 && Date.now() - this.#note.sinceMs >= days * dayMs;
    return isOld || (messages > 0 && this.#messages >= messages);
  }

  async #save(note: AgeNote): Promise<void> {
    this.#note = note;
    await this.parts.state.saveNote(this.parts.roomId, "key", note);
  }
}
