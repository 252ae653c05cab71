/**
 * Whether a room is a direct room, between this peer and one other person, and what happens when it stops being one.
 *
 * Only its form and its members make a room direct: the subject `room.dm-` and 16 characters, all three policies on,
 * and no member line that ever named a third endpoint. The client remembers the other person of a direct room. Once a
 * third person is in it, sending fails once, so that a message for one person does not reach two by mistake.
 */
import { UnibusError } from "../../wire/errors.ts";
import { type Policy, parseStatement, policyDigits } from "../../wire/statement.ts";
import { type MemberStep, memberSteps, signedStep } from "../trust/member-steps.ts";
import type { RoomTrust } from "../trust/room-trust.ts";
import type { ClientState } from "../trust/state.ts";
import type { VerifiedMember, VerifiedRoom } from "../trust/verified-room.ts";

const subjectShape = /^room\.dm-[A-Za-z0-9_-]{16}$/;

/** The other person of a direct room. */
export interface DirectPeer {
  readonly endpoint: string;
  /** As the server states it. */
  readonly handle: string;
}

/** A third person in a room that was direct. */
export interface DirectAddition extends DirectPeer {
  /** The endpoint of the owner who added them; null if it is not known which owner did. */
  readonly by: string | null;
}

/** Whether a room can be a direct room: only by its subject and policy. */
export function isDirectForm({ subject, policy }: { readonly subject: string; readonly policy: Policy }): boolean {
  return subjectShape.test(subject) && policyDigits(policy) === "111";
}

/** The one other endpoint that the member lines of a room ever named; null if there is none, or more than one. */
export function onlyOther(room: VerifiedRoom, me: string): VerifiedMember | null {
  const others = [...room.members].filter(([endpoint]) => endpoint !== me);
  const [[, stays] = []] = others;
  return others.length === 1 && room.members.has(me) ? (stays?.at(-1) ?? null) : null;
}

interface DirectWatchDeps {
  readonly trust: RoomTrust;
  readonly state: ClientState;
  /** This peer's endpoint. */
  readonly me: string;
  /** Whether this peer created or accepted the room. */
  readonly isAccepted: () => boolean;
  readonly onTrouble: (error: unknown) => void;
}

/** What the client remembers of a direct room. */
interface Remembered {
  /** The endpoint with whom the room was direct, or null. */
  readonly peer: string | null;
  /** The third persons that the user of this client knows of. */
  readonly seen: readonly string[];
}

function rememberedIn(note: unknown): Remembered {
  const { peer, seen } = (note ?? {}) as { peer?: unknown; seen?: unknown };
  const texts = Array.isArray(seen) ? seen.filter((one) => typeof one === "string") : [];
  return { peer: typeof peer === "string" ? peer : null, seen: texts };
}

/** Watches one room. */
export class DirectWatch {
  #remembered: Remembered = { peer: null, seen: [] };
  /** Who added whom, as far as it is known. */
  readonly #addedBy = new Map<string, string | null>();
  readonly #isForm: boolean;

  constructor(private readonly deps: DirectWatchDeps) {
    this.#isForm = isDirectForm(deps.trust.room.state);
  }

  /** Reads what is remembered. Call it once, before the room is used. Errors: those of the client's state. */
  async load(): Promise<void> {
    if (!this.#isForm) return;
    const { trust, state } = this.deps;
    this.#remembered = rememberedIn(await state.note(trust.roomId, "direct"));
    if (this.additions.length > 0) this.#note(await this.#pastSteps());
    await this.remember();
  }

  /** Takes changes of the room. */
  took(steps: readonly MemberStep<VerifiedMember>[]): void {
    if (!this.#isForm) return;
    this.#note(steps);
    void this.remember().catch(this.deps.onTrouble);
  }

  /** The other person; null if the room is not direct, or this peer has not accepted it. */
  get peer(): DirectPeer | null {
    const peer = this.#peer();
    // What was shown as direct is remembered as such.
    if (peer !== null) void this.remember().catch(this.deps.onTrouble);
    return peer;
  }

  #peer(): DirectPeer | null {
    const other = this.#isForm && this.deps.isAccepted() ? onlyOther(this.deps.trust.room, this.deps.me) : null;
    return other === null ? null : { endpoint: other.endpoint, handle: other.handle };
  }

  /** The third persons in a room that was direct, until `confirm` or a failed send. */
  get additions(): readonly DirectAddition[] {
    const { peer, seen } = this.#remembered;
    if (peer === null) return [];
    const known = new Set([this.deps.me, peer, ...seen]);
    return [...this.deps.trust.room.members.values()]
      .flatMap((stays) => stays.at(-1) ?? [])
      .filter(({ endpoint }) => !known.has(endpoint))
      .map(({ endpoint, handle }) => ({ endpoint, handle, by: this.#addedBy.get(endpoint) ?? null }));
  }

  /** Reads a room again that was direct: no notice says that a third person was added. Errors: those of `refresh`. */
  async beforeSending(signal: AbortSignal | undefined): Promise<void> {
    if (!this.#isForm) return;
    await this.remember();
    if (this.#remembered.peer !== null) await this.deps.trust.refresh(signal);
  }

  /** Fails once for each third person. Errors: forbidden, which names them and their adders. */
  refuse(): void {
    const { additions } = this;
    if (additions.length === 0) return;
    void this.confirm().catch(this.deps.onTrouble);
    const { subject } = this.deps.trust.room.state;
    const each = additions.map(({ endpoint, handle, by }) => {
      const adder = by === null ? "an owner" : this.#nameOf(by);
      return `${adder} added ${JSON.stringify(handle)} (${endpoint})`;
    });
    const hint = "send it again if everyone in the room may read it";
    throw new UnibusError("forbidden", `${subject} is no longer between two: ${each.join("; ")} (${hint})`);
  }

  /** Records that the user knows of the third persons. */
  async confirm(): Promise<void> {
    const seen = [...this.#remembered.seen, ...this.additions.map(({ endpoint }) => endpoint)];
    await this.#save({ ...this.#remembered, seen });
  }

  /** Records with whom the room is direct. */
  async remember(): Promise<void> {
    const peer = this.#peer()?.endpoint ?? null;
    if (peer !== null && peer !== this.#remembered.peer) await this.#save({ ...this.#remembered, peer });
  }

  async #save(remembered: Remembered): Promise<void> {
    this.#remembered = remembered;
    await this.deps.state.saveNote(this.deps.trust.roomId, "direct", remembered);
  }

  #nameOf(endpoint: string): string {
    const handle = this.deps.trust.room.members.get(endpoint)?.at(-1)?.handle;
    return handle === undefined ? endpoint : `${JSON.stringify(handle)} (${endpoint})`;
  }

  #note(steps: readonly MemberStep<VerifiedMember>[]): void {
    for (const step of steps) if (step.kind === "added") this.#addedBy.set(step.line.endpoint, step.by);
  }

  /** The changes since the room was created, from the statements that the client keeps. */
  async #pastSteps(): Promise<MemberStep<VerifiedMember>[]> {
    const { room, kept } = this.deps.trust;
    const statements = [...(await kept.statements()).values()].sort((a, b) => a.version - b.version);
    const first = statements[0] === undefined ? null : parseStatement(statements[0].text);
    if (first === null || "fault" in first || first.version !== 1) return [];
    const lines = [...room.members.values()].flat();
    const creator = lines.filter(({ sign_pub, since }) => since === 1 && first.owners.includes(sign_pub));
    const start = { epoch: 1, lines: creator.map((line) => ({ ...line, role: "owner" as const, until: 0 })) };
    return memberSteps(start, lines, statements.slice(1).map(signedStep));
  }
}
