/**
 * What changed in a room between two verified versions, and which owner signed each change.
 *
 * A statement has the hash of the member lines, not the lines. So the lines before are changed step by step into the
 * lines after, until they have the hash that each statement names. Several versions may lie between two reads.
 */
import { sha256Hex } from "../../wire/encoding.ts";
import { endpointId } from "../../wire/names.ts";
import { type MemberLine, memberLinesText, type ParsedStatement, parseStatement } from "../../wire/statement.ts";

/** A verified statement and the key that signed it. */
export interface SignedStep extends Pick<ParsedStatement, "version" | "epoch" | "membersHash"> {
  readonly by: string;
}

/** A verified statement as one step. */
export function signedStep({ text, by }: { readonly text: string; readonly by: string }): SignedStep {
  const parsed = parseStatement(text);
  if ("fault" in parsed) throw new TypeError(`not a verified statement: ${parsed.fault}`);
  return { ...parsed, by };
}

/** One change. `by`: the endpoint of the owner who signed it; null if several owners did, in an unknown order. */
export type MemberStep<Line extends MemberLine> =
  | { readonly kind: "added" | "removed" | "role"; readonly line: Line; readonly by: string | null }
  | { readonly kind: "rekeyed"; readonly epoch: number; readonly by: string | null };

/** How many guesses are hashed for one statement. */
const guessesMax = 64;
/** Of how many additions all choices are guesses. */
const choiceMax = 5;

const nameOf = ({ endpoint, since }: MemberLine): string => `${endpoint} ${since}`;

/** All choices of some of a few items; of many, only all of them, and each alone. */
function subsetsOf<T>(items: readonly T[]): T[][] {
  if (items.length > choiceMax) return [[...items], ...items.map((one) => [one])];
  const masks = Array.from({ length: 2 ** items.length - 1 }, (_, index) => index + 1);
  return masks.map((mask) => items.filter((_, i) => (mask >> i) % 2 === 1));
}

/** Walks from the lines before to the lines after. */
class Walk<Line extends MemberLine> {
  readonly found: MemberStep<Line>[] = [];
  readonly #lines: Map<string, MemberLine>;
  /** The owners who signed changes of the current epoch that are not explained yet. */
  readonly #unexplained = new Set<string>();

  constructor(
    before: readonly MemberLine[],
    private readonly after: readonly Line[],
    private epoch: number,
  ) {
    this.#lines = new Map(before.map((line) => [nameOf(line), line]));
  }

  step({ epoch, membersHash, by }: SignedStep): void {
    if (epoch !== this.epoch) this.#rotate(epoch, endpointId(by));
    else {
      this.#unexplained.add(endpointId(by));
      if (this.#guess(membersHash)) this.#unexplained.clear();
    }
  }

  /** Reports what is left of an epoch's changes. */
  finish(): void {
    // First what is added, then the roles of that.
    for (let round = 0; round < 2; round++) for (const line of this.#pending()) this.#apply([line]);
    this.#unexplained.clear();
  }

  #rotate(epoch: number, by: string): void {
    if (this.#unexplained.size > 0) this.finish();
    this.epoch = epoch;
    for (const line of this.after.filter(({ until }) => until === epoch)) {
      const known = this.#lines.get(nameOf(line));
      this.#lines.set(nameOf(line), { ...line, role: known?.role ?? line.role });
      this.found.push({ kind: "removed", line, by });
    }
    this.found.push({ kind: "rekeyed", epoch, by });
  }

  /** The lines that an addition or a change of role in this epoch must still make. */
  #pending(): Line[] {
    return this.after.filter((line) => {
      const known = this.#lines.get(nameOf(line));
      return known === undefined ? line.since === this.epoch : known.role !== line.role;
    });
  }

  /** Finds the changes that lead to a hash: some of the additions, or one change of a role. */
  #guess(membersHash: string): boolean {
    const pending = this.#pending();
    const additions = pending.filter((line) => !this.#lines.has(nameOf(line)));
    const roles = pending.filter((line) => this.#lines.has(nameOf(line))).map((line) => [line]);
    for (const guess of [...subsetsOf(additions), ...roles].slice(0, guessesMax)) {
      if (this.#hashWith(guess) !== membersHash) continue;
      this.#apply(guess);
      return true;
    }
    return false;
  }

  #hashWith(changed: readonly Line[]): string {
    const lines = new Map(this.#lines);
    for (const line of changed) lines.set(nameOf(line), this.#changed(line));
    return sha256Hex(memberLinesText([...lines.values()]));
  }

  /** A line after one change. A member is added with the role `member`, and the end of a stay is another change. */
  #changed(line: Line): MemberLine {
    const known = this.#lines.get(nameOf(line));
    return known === undefined ? { ...line, role: "member", until: 0 } : { ...known, role: line.role };
  }

  #apply(changed: readonly Line[]): void {
    const [by = null, ...others] = this.#unexplained;
    for (const line of changed) {
      const kind = this.#lines.has(nameOf(line)) ? "role" : "added";
      this.#lines.set(nameOf(line), this.#changed(line));
      this.found.push({ kind, line, by: others.length === 0 ? by : null });
    }
  }
}

/**
 * The changes from one version to another, in their order, with their signers.
 * Shape: `epoch` is that of the version before; `signed` are all statements after it, in order.
 */
export function memberSteps<Line extends MemberLine>(
  before: { readonly epoch: number; readonly lines: readonly MemberLine[] },
  after: readonly Line[],
  signed: readonly SignedStep[],
): MemberStep<Line>[] {
  const walk = new Walk(before.lines, after, before.epoch);
  for (const step of signed) walk.step(step);
  walk.finish();
  return walk.found;
}
