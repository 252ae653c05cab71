/** What the chains of a room show, and what they must not. Source: docs/protocol/history.md. */
import { describe, expect, test } from "bun:test";
import { Integrity, type LinkedMessage } from "../../src/client/rooms/integrity.ts";
import type { Received } from "../../src/client/rooms/receiver.ts";
import { SenderChain } from "../../src/client/rooms/sender-chain.ts";
import { noHash } from "../../src/wire/chain-entry.ts";
import { bytesOf } from "../../src/wire/encoding.ts";
import { newUlid, ulidTimeMs } from "../../src/wire/ulid.ts";
import { LinkedRun } from "../support/linked-run.ts";
import { randomOf } from "../support/timeline.ts";

const runs = 60;
const histories = Array.from({ length: runs }, (_, seed) => new LinkedRun(randomOf(seed)).run(120));
const historyOf = (seed: number): LinkedMessage[] => histories[seed] ?? [];

function findingsOf(history: readonly LinkedMessage[], { isWhole = true, isOrdered = true } = {}) {
  const integrity = new Integrity({ isWhole, isOrdered });
  for (const message of history) integrity.add(message);
  return integrity.findings();
}

const chainOf = ({ header }: LinkedMessage) => header.chain ?? { id: "", n: -1, hash: "" };
const follows = (one: LinkedMessage, next: LinkedMessage): boolean =>
  chainOf(next).id === chainOf(one).id && chainOf(next).n === chainOf(one).n + 1;

/** A message that says nothing of others, and of which its sender knows that it was stored. */
const isPlain = (one: LinkedMessage, history: readonly LinkedMessage[]): boolean =>
  one.erased === null &&
  one.header.void === undefined &&
  !history.some((other) => chainOf(other).id === chainOf(one).id && other.header.void?.includes(chainOf(one).n));

/** The first message of a run, from some place on, for which this is true. */
function pick(history: readonly LinkedMessage[], seed: number, is: (one: LinkedMessage) => boolean) {
  const start = randomOf(seed)(history.length);
  return [...history.slice(start), ...history.slice(0, start)].find(is);
}

/** How many runs have a message of this kind; each of them is checked. */
function attack(
  is: (one: LinkedMessage, history: readonly LinkedMessage[]) => boolean,
  check: (one: LinkedMessage, history: LinkedMessage[]) => void,
): number {
  let count = 0;
  for (let seed = 0; seed < runs; seed++) {
    const history = historyOf(seed);
    const one = pick(history, seed, (each) => is(each, history));
    if (one === undefined) continue;
    count += 1;
    check(one, history);
  }
  return count;
}

describe("no alarm", () => {
  test("for legal runs: devices, lost acks, unstored messages, restarts, erased messages", () => {
    for (let seed = 0; seed < runs; seed++) expect([seed, findingsOf(historyOf(seed))]).toEqual([seed, []]);
  });

  test("for a reader who begins in the middle, or gets messages twice", () => {
    for (let seed = 0; seed < runs; seed++) {
      const history = historyOf(seed);
      // Erased messages before the middle may belong to chains that are met later.
      expect([seed, findingsOf(history.flatMap((one) => [one, one]))]).toEqual([seed, []]);
      const rest = history.slice(-1).concat(history);
      expect([seed, findingsOf(rest, { isOrdered: false })]).toEqual([seed, []]);
    }
  });

  test("for frames that this reader dropped", () => {
    const count = attack(
      (one, history) => isPlain(one, history) && history.some((other) => follows(one, other)),
      (one, history) => {
        const integrity = new Integrity({ isWhole: true, isOrdered: true });
        for (const each of history) if (each === one) integrity.dropped(one.hash, one.from);
        for (const each of history) if (each !== one) integrity.add(each);
        expect(integrity.findings()).toEqual([]);
      },
    );
    expect(count).toBe(runs);
  });
});

describe("named with its sender and place is", () => {
  test("a message that is missing before another one of its chain", () => {
    const count = attack(
      (one, history) => isPlain(one, history) && history.some((other) => follows(one, other)),
      (one, history) => {
        const { id: chain, n } = chainOf(one);
        const found = findingsOf(history.filter((other) => other !== one)).filter(({ what }) => what === "gap");
        const gap = found.find(({ chain: of, first, last }) => of === chain && first <= n && n <= last);
        expect(gap).toMatchObject({ what: "gap", from: one.from, saidBy: null });
      },
    );
    expect(count).toBe(runs);
  });

  test("the end of a chain, if another member's message names it", () => {
    const isLast = (one: LinkedMessage, history: readonly LinkedMessage[]) =>
      !history.some((other) => chainOf(other).id === chainOf(one).id && chainOf(other).n > chainOf(one).n);
    const names = (one: LinkedMessage) => (other: LinkedMessage) =>
      other.header.heads?.some(({ hash }) => hash === one.hash) ?? false;
    const isOnly = (one: LinkedMessage, history: readonly LinkedMessage[]) =>
      !history.some((other) => other !== one && chainOf(other).id === chainOf(one).id);
    const count = attack(
      (one, history) =>
        !isOnly(one, history) && isPlain(one, history) && isLast(one, history) && history.some(names(one)),
      (one, history) => {
        const gap = findingsOf(history.filter((other) => other !== one)).find(({ chain }) => chain === chainOf(one).id);
        expect(gap).toMatchObject({ what: "gap", from: one.from, last: chainOf(one).n });
        expect(gap?.saidBy).toBeString();
      },
    );
    expect(count).toBeGreaterThan(runs / 2);
  });

  test("a message with the place of another one", () => {
    const count = attack(
      (one, history) => history.some((other) => follows(one, other)),
      (one, history) => {
        const other = { ...one, hash: "f".repeat(32) };
        const replaced = history.map((each) => (each === one ? other : each));
        const fork = findingsOf(replaced).find(({ what }) => what === "fork");
        expect(fork).toMatchObject({ from: one.from, chain: chainOf(one).id, first: chainOf(one).n });
        expect(findingsOf([...history, other]).some(({ what }) => what === "fork")).toBe(true);
      },
    );
    expect(count).toBe(runs);
  });

  test("a message that was moved behind one which was sent more than 2 minutes later", () => {
    const isLater = (one: LinkedMessage) => (other: LinkedMessage) =>
      chainOf(other).id === chainOf(one).id && ulidTimeMs(other.id) - ulidTimeMs(one.id) > 120_000;
    const count = attack(
      (one, history) => history.some(isLater(one)),
      (one, history) => {
        const moved = [...history.filter((other) => other !== one), one];
        const order = findingsOf(moved).find(({ what }) => what === "order");
        expect(order).toMatchObject({ from: one.from, chain: chainOf(one).id, first: chainOf(one).n, after: one.id });
      },
    );
    expect(count).toBeGreaterThan(runs / 2);
  });
});

describe("the bounds", () => {
  const linkOf = (from: string, chain: string, n: number): LinkedMessage => {
    const header = { chain: { id: chain.padStart(16, "0"), n, hash: noHash } };
    return { id: newUlid(n), from, hash: chain.padStart(32, "0"), header, erased: null, byOwner: false };
  };

  test("64 chains of a sender are remembered: a forgotten one begins again, without an alarm", () => {
    const first = linkOf("eve", "aa", 0);
    const others = (count: number) => Array.from({ length: count }, (_, at) => linkOf("eve", `${at}`, 0));
    const later = linkOf("eve", "aa", 9);
    expect(findingsOf([first, ...others(63), later])).toMatchObject([{ what: "gap", first: 1, last: 8 }]);
    expect(findingsOf([first, ...others(64), later])).toEqual([]);
  });

  test("a member who uses another's chain makes no gap in it", () => {
    expect(findingsOf([linkOf("ana", "aa", 0), linkOf("eve", "aa", 9)])).toEqual([]);
  });

  test("the heads of a message name other chains, one of each sender, four at most", () => {
    const chain = new SenderChain();
    const own = chain.next({ version: 1, hash: noHash }).chain ?? { id: "", n: 0, hash: "" };
    const senders = ["a", "b", "c", "d", "e"].map((name) => `${name.repeat(42)}A`);
    const seen = (from: string, id: string, n: number) => {
      const frame = { t: 0, s: "room.test", from, id: newUlid(n), e: 1, p: "AA==" } as const;
      const content = { kind: "text", header: { chain: { id, n, hash: noHash } }, body: new Uint8Array() } as const;
      chain.saw({ frame, content, verified: true } as unknown as Received, true);
    };
    seen(senders[0] ?? "", own.id, 99);
    for (const [at, from] of senders.entries()) for (const n of [10, 20]) seen(from, `${at}`.repeat(16), n + at);
    const { heads = [] } = chain.next({ version: 1, hash: noHash });
    expect(heads.map(({ id, n }) => [id[0], n])).toEqual([1, 2, 3, 4].map((at) => [`${at}`, 20 + at]));
  });

  test("at most 16 unstored numbers in a message, the others in the next ones", () => {
    const chain = new SenderChain();
    const statement = { version: 1, hash: noHash };
    for (let n = 0; n < 20; n++) {
      chain.next(statement);
      chain.sealed(bytesOf(`${n}`))(false);
    }
    const declared: number[] = [];
    for (const size of [16, 4, 0]) {
      const { void: gone = [] } = chain.next(statement);
      chain.sealed(bytesOf(`stored ${size}`))(true);
      expect(gone.length).toBe(size);
      declared.push(...gone);
    }
    expect(declared.toSorted((one, other) => one - other)).toEqual(Array.from({ length: 20 }, (_, n) => n));
  });
});
