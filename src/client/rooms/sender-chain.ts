/**
 * The links that this client puts into its messages: its own chain in a room, and the newest messages that it saw of
 * others. Readers notice from them what the bus dropped, reordered or withheld. A chain exists in memory only, and each
 * start of the program has a new one, so that two devices never share one. Source: docs/protocol/history.md.
 */

import { type ChainEntry, halfHash, noHash, type StatementTag } from "../../wire/chain-entry.ts";
import { toHex } from "../../wire/encoding.ts";
import type { EnvelopeHeader } from "../../wire/envelope.ts";
import { encodeFrame } from "../../wire/frame.ts";
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
  /** The numbers that were never stored, and that no stored message declares yet. */
  #void: number[] = [];
  readonly #sending = new Set<Sending>();
  /** By sender, so that no member fills all places: the newest message of each, with its id. */
  readonly #heads = new Map<string, { readonly id: string; readonly head: ChainEntry }>();

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
    const heads = [...this.#heads.values()].map(({ head }) => head).filter(({ id }) => id !== this.#id);
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
  saw({ frame, content, verified }: Received, isSigned: boolean): void {
    const { chain } = content.header;
    if (chain === undefined || (isSigned && !verified) || chain.id === this.#id) return;
    const known = this.#heads.get(frame.from);
    if (known !== undefined && known.id >= frame.id) return;
    this.#heads.delete(frame.from);
    const head = { id: chain.id, n: chain.n, hash: halfHash(encodeFrame(frame)) };
    this.#heads.set(frame.from, { id: frame.id, head });
    if (this.#heads.size <= headsMax) return;
    const [[oldest] = [""]] = [...this.#heads].sort(([, one], [, other]) => (one.id < other.id ? -1 : 1));
    this.#heads.delete(oldest);
  }

  #ended(sending: Sending, isStored: boolean): void {
    if (!this.#sending.delete(sending)) return;
    if (isStored) this.#stored = sending.hash;
    // Numbers of a chain that has ended cannot be declared any more.
    else if (sending.id === this.#id) this.#void.push(sending.n, ...sending.void);
  }

  #restart(): void {
    this.#id = newId();
    this.#n = 0;
    this.#previous = this.#stored;
    this.#void = [];
  }
}
