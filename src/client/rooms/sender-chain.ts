/**
 * The links that this client puts into its messages: its own chain in a room, and the newest messages that it saw of
 * others. Readers notice from them what the bus dropped, reordered or withheld. A chain exists in memory only, and each
 * start of the program has a new one, so that two devices never share one. Source: docs/protocol/history.md.
 */

import { type ChainEntry, halfHash, noHash, type StatementTag } from "../../wire/chain-entry.ts";
import { toHex } from "../../wire/encoding.ts";
import type { EnvelopeHeader } from "../../wire/envelope.ts";
import type { Received } from "./receiver.ts";

const headsMax = 4;
/** The most numbers that one message declares as never stored. Source: docs/protocol/envelope.md. */
const voidMax = 16;
/** How many of such numbers wait for a message. With more, the client begins another chain. */
const waitingMax = 1_024;
const idBytes = 8;

const newId = (): string => toHex(crypto.getRandomValues(new Uint8Array(idBytes)));

/** What the chain adds to a header. */
export type Links = Pick<EnvelopeHeader, "chain" | "heads" | "statement" | "void">;

/** A chain with which another run of the program can go on: nothing of it is in flight. */
interface Kept {
  readonly id: string;
  readonly n: number;
  readonly previous: string;
  readonly void: readonly number[];
  readonly settled: number;
  readonly settledHash: string;
}

const isHash = (value: unknown): value is string => typeof value === "string" && /^[0-9a-f]{32}$/.test(value);
const isNumber = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) < 2 ** 32 - 1;

/** A message that has its place in the chain and is being sent. */
interface Sending {
  readonly id: string;
  readonly n: number;
  readonly hash: string;
  readonly void: readonly number[];
}

/** One client's chain in one room, and what it saw of other chains. */
export class SenderChain {
  #id = newId();
  #n = 0;
  /** The hash of the previous frame as sent. */
  #previous = noHash;
  /** The hash of the last frame that was stored: what the first message of another chain names. */
  #stored = noHash;
  /** The newest message before which each one was stored or given up, and later ones that are stored. */
  #settled: ChainEntry | null = null;
  #acked: Sending[] = [];
  /** The numbers that were never stored, and that no stored message declares yet. */
  #void: number[] = [];
  readonly #sending = new Set<Sending>();
  /** By sender, so that no member fills all places: the newest message of each, with its id. */
  readonly #heads = new Map<string, { readonly id: string; readonly head: ChainEntry }>();

  /** What another run needs to go on; null if nothing was sent, or if a message is in flight. */
  get kept(): Kept | null {
    if (this.#n === 0 || this.#sending.size > 0) return null;
    const { n: settled, hash: settledHash } = this.#settled ?? { n: -1, hash: noHash };
    return { id: this.#id, n: this.#n, previous: this.#previous, void: this.#void, settled, settledHash };
  }

  /** Goes on with a chain that an earlier run left, if it is one. Call it before the first message. */
  resume(given: unknown): void {
    const { id, n, previous, void: gone, settled, settledHash } = (given ?? {}) as Partial<Record<keyof Kept, unknown>>;
    if (typeof id !== "string" || !/^[0-9a-f]{16}$/.test(id) || !isNumber(n) || n < 1 || !isHash(previous)) return;
    if (!isNumber(settled) || settled >= n || !isHash(settledHash)) return;
    if (!Array.isArray(gone) || gone.length > waitingMax || !gone.every((one) => isNumber(one) && one >= 0)) return;
    [this.#id, this.#n, this.#previous, this.#stored, this.#void] = [id, n, previous, previous, [...gone]];
    if (settled >= 0) this.#settled = { id, n: settled, hash: settledHash };
  }

  /** The links of the next message. It has its place only after `sealed`. */
  next(statement: StatementTag): Links {
    if (this.#void.length > waitingMax) this.#restart();
    const declared = this.#void.slice(0, voidMax);
    return {
      ...this.context(statement),
      chain: { id: this.#id, n: this.#n, hash: this.#previous },
      void: declared.length === 0 ? undefined : declared,
    };
  }

  /** What a message says that has no place in the chain, because it is not sent again until it is stored. */
  context(statement: StatementTag): Links {
    const seen = [...this.#heads.values()].map(({ head }) => head);
    // Its own newest message that is stored comes first: whatever has a lower number must not be stored from now on.
    const heads = [this.#settled, ...seen].filter((head) => head !== null);
    return { heads: heads.length === 0 ? undefined : heads.slice(0, headsMax), statement };
  }

  /** The next message was sealed. Returns a function to call once it is stored, or finally was not. */
  sealed(bytes: Uint8Array): (isStored: boolean) => void {
    const sending: Sending = { id: this.#id, n: this.#n++, hash: halfHash(bytes), void: this.#void.splice(0, voidMax) };
    this.#previous = sending.hash;
    this.#sending.add(sending);
    return (isStored) => this.#ended(sending, isStored);
  }

  /** A message was received: other members learn from the next message that it was. */
  saw({ frame, content, verified, hash }: Received, isSigned: boolean): void {
    const { chain } = content.header;
    if (chain === undefined || (isSigned && !verified) || chain.id === this.#id) return;
    const known = this.#heads.get(frame.from);
    if (known !== undefined && known.id >= frame.id) return;
    this.#heads.delete(frame.from);
    const head = { id: chain.id, n: chain.n, hash };
    this.#heads.set(frame.from, { id: frame.id, head });
    if (this.#heads.size <= headsMax) return;
    const [[oldest] = [""]] = [...this.#heads].sort(([, one], [, other]) => (one.id < other.id ? -1 : 1));
    this.#heads.delete(oldest);
  }

  #ended(sending: Sending, isStored: boolean): void {
    if (!this.#sending.delete(sending)) return;
    if (isStored) this.#stored = sending.hash;
    // Numbers of a chain that has ended cannot be declared any more.
    if (sending.id !== this.#id) return;
    if (isStored) this.#acked.push(sending);
    else this.#void.push(sending.n, ...sending.void);
    this.#settle();
  }

  #settle(): void {
    let [{ n: end } = { n: this.#n }] = this.#sending;
    // What was given up may be stored late, and is exempt only once it is declared.
    for (const n of this.#void) end = Math.min(end, n);
    for (const { n, id, hash } of this.#acked) {
      if (n < end && n > (this.#settled?.n ?? -1)) this.#settled = { id, n, hash };
    }
    this.#acked = this.#acked.filter(({ n }) => n >= end);
  }

  #restart(): void {
    this.#id = newId();
    this.#n = 0;
    this.#previous = this.#stored;
    this.#void = [];
    this.#settled = null;
    this.#acked = [];
  }
}
