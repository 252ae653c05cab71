/** What the chains of a room show, and what they must not. Source: docs/protocol/history.md. */
import { describe, expect, test } from "bun:test";
import { HistoryRead } from "../../src/client/rooms/history-read.ts";
import { Integrity, type IntegrityFinding, type LinkedMessage } from "../../src/client/rooms/integrity.ts";
import { SenderChain } from "../../src/client/rooms/sender-chain.ts";
import { halfHash, noHash } from "../../src/wire/chain-entry.ts";
import { bytesOf } from "../../src/wire/encoding.ts";
import { newUlid, ulidTimeMs } from "../../src/wire/ulid.ts";
import { LinkedRun } from "../support/linked-run.ts";
import { randomOf } from "../support/timeline.ts";

const runs = 60;
const histories = Array.from({ length: runs }, (_, seed) => new LinkedRun(randomOf(seed)).run(120));
const historyOf = (seed: number): LinkedMessage[] => histories[seed] ?? [];

/** Reads a history from its start, in pages. */
function readOf(history: readonly LinkedMessage[], integrity = new Integrity(), pageMax = 1_000): Integrity {
  const read = new HistoryRead(true);
  for (let at = 0; at < history.length; at += pageMax) integrity.page(history.slice(at, at + pageMax), at, read);
  const [first] = history;
  if (first !== undefined) integrity.start(first, 1);
  return integrity;
}

const findingsOf = (history: readonly LinkedMessage[]) => readOf(history).findings();

/** Follows messages live. */
function liveOf(history: readonly LinkedMessage[], integrity = new Integrity()): Integrity {
  for (const [at, message] of history.entries()) integrity.add(message, at);
  return integrity;
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
      expect([seed, liveOf(history).findings()]).toEqual([seed, []]);
      expect([seed, liveOf(history.slice(-1).concat(history)).findings()]).toEqual([seed, []]);
    }
  });

  test("for frames that this reader dropped", () => {
    const count = attack(
      (one, history) => isPlain(one, history) && history.some((other) => follows(one, other)),
      (one, history) => {
        const integrity = new Integrity();
        integrity.dropped(one.hash, one.from, "old_epoch");
        const others = history.filter((other) => other !== one);
        expect(readOf(others, integrity).findings()).toEqual([]);
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

/** Where a page of the history may begin and end. */
const cuts = (history: readonly LinkedMessage[], seed: number): readonly [number, number] => {
  const random = randomOf(seed + 1_000);
  const middle = random(history.length);
  return [random(middle + 1), middle];
};

describe("a reader who pages", () => {
  test("has no alarm: live messages, the newest page, older ones down to the start", () => {
    for (let seed = 0; seed < runs; seed++) {
      const history = historyOf(seed);
      const [low, middle] = cuts(history, seed);
      const integrity = liveOf(history.slice(middle));
      integrity.page(history.slice(low), low, new HistoryRead(), Infinity);
      integrity.page(history.slice(0, low), 0, new HistoryRead(), low + 1);
      if (history[0] !== undefined) integrity.start(history[0], 1);
      expect([seed, integrity.findings()]).toEqual([seed, []]);
    }
  });

  test("has no alarm for what was not read between pages", () => {
    for (let seed = 0; seed < runs; seed++) {
      const history = historyOf(seed);
      const [low, middle] = cuts(history, seed);
      const integrity = new Integrity();
      integrity.page(history.slice(0, low), 0, new HistoryRead(true));
      integrity.begin();
      for (const message of history.slice(middle)) integrity.add(message);
      const explains = history.some(({ erased, header }) => erased !== null || header.void !== undefined);
      const isFlying = integrity.findings().length > 0;
      // A page may end between messages that were in flight together, or before a deletion that explains a gap in it.
      if (isFlying) expect(explains).toBe(true);
    }
  });

  test("learns which message an older page leaves out", () => {
    const count = attack(
      (one, history) => isPlain(one, history) && history.some((other) => follows(one, other)),
      (one, history) => {
        const kept = history.filter((other) => other !== one);
        const middle = kept.length - 10;
        const integrity = liveOf(kept.slice(middle));
        for (let end = middle; end > 0; end -= 20) {
          integrity.page(kept.slice(Math.max(0, end - 20), end), Math.max(0, end - 20), new HistoryRead(), end + 1);
        }
        if (kept[0] !== undefined) integrity.start(kept[0], 1);
        const { id: chain, n } = chainOf(one);
        const isIt = ({ what, chain: of, first, last }: IntegrityFinding) =>
          what === "gap" && of === chain && first <= n && n <= last;
        expect(integrity.findings().some(isIt)).toBe(true);
      },
    );
    expect(count).toBe(runs);
  });

  test("learns that a message is gone which was there before, unless it was erased", () => {
    const count = attack(
      (one, history) => isPlain(one, history) && chainOf(one).n > 0 && history.some((other) => follows(one, other)),
      (one, history) => {
        const integrity = readOf(history);
        readOf(
          history.filter((other) => other !== one),
          integrity,
        );
        const { id: chain, n } = chainOf(one);
        expect(integrity.findings()).toMatchObject([{ what: "gap", from: one.from, chain, first: n, last: n }]);
        const erasing = { ...one, id: newUlid(0), hash: "e".repeat(32), header: {}, erased: one.hash };
        expect(readOf([...history.filter((other) => other !== one), erasing], integrity).findings()).toEqual([]);
        expect(integrity.explained).toContainEqual({ from: one.from, chain, n, erasedBy: one.from });
        // It is there again.
        expect(
          readOf(
            history,
            readOf(
              history.filter((other) => other !== one),
              readOf(history),
            ),
          ).findings(),
        ).toEqual([]);
      },
    );
    expect(count).toBeGreaterThan(runs / 2);
  });

  test("learns that the history begins later than before, unless the room drops its oldest messages", () => {
    const history = historyOf(0);
    const integrity = readOf(history);
    const [first, second] = history;
    if (first === undefined || second === undefined) throw new Error("the history is empty");
    integrity.start(second, 2);
    expect(integrity.findings()).toMatchObject([{ what: "gap", from: first.from, before: second.id, after: null }]);
    integrity.dropsOldest = true;
    expect(integrity.findings()).toEqual([]);
  });
});

describe("a message that is stored too late", () => {
  const statement = { version: 1, hash: noHash };
  /** Sends messages, each after the one before is stored. */
  function sentInTurn(count: number): LinkedMessage[] {
    const chain = new SenderChain();
    return Array.from({ length: count }, (_, n) => {
      const header = chain.next(statement);
      chain.sealed(bytesOf(`${n}`))(true);
      return { id: newUlid(n), from: "ana", hash: halfHash(`${n}`), header, erased: null, byOwner: false };
    });
  }

  test("is named, at whatever time it was sent, if its sender knew that it was stored", () => {
    const [one, two, three, four] = sentInTurn(4) as [LinkedMessage, LinkedMessage, LinkedMessage, LinkedMessage];
    for (const swapped of [
      [one, three, two, four],
      [two, one, three, four],
      [one, two, four, three],
    ]) {
      const [late] = swapped.filter((each, at) => at > 0 && chainOf(each).n < chainOf(swapped[at - 1] ?? each).n);
      expect(findingsOf(swapped)).toMatchObject([
        { what: "order", from: "ana", after: late?.id, first: chainOf(late as LinkedMessage).n },
      ]);
    }
  });

  test("is not reported if it comes twice, or if the messages were in flight together", () => {
    const sent = sentInTurn(4);
    expect(findingsOf([...sent, ...sent])).toEqual([]);
    const chain = new SenderChain();
    const flying = Array.from({ length: 4 }, (_, n) => {
      const header = chain.next(statement);
      const onEnd = chain.sealed(bytesOf(`${n}`));
      return { onEnd, id: newUlid(n), from: "ana", hash: halfHash(`${n}`), header, erased: null, byOwner: false };
    });
    expect(findingsOf(flying.toReversed())).toEqual([]);
    // The first one was given up, and is stored after all.
    for (const [at, { onEnd }] of flying.entries()) onEnd(at > 0);
    const next = [chain.next(statement), chain.next(statement)].map((header, at) => {
      chain.sealed(bytesOf(`next ${at}`))(true);
      return { id: newUlid(9), from: "ana", hash: halfHash(`next ${at}`), header, erased: null, byOwner: false };
    });
    expect(findingsOf([...flying.slice(1), ...next.slice(0, 1), ...flying.slice(0, 1)])).toEqual([]);
  });

  test("is explained, with the reason, if this reader dropped it", () => {
    const [zero, one, two] = sentInTurn(3) as [LinkedMessage, LinkedMessage, LinkedMessage];
    const integrity = new Integrity();
    integrity.dropped(one.hash, one.from, "old_epoch");
    expect(readOf([zero, two], integrity).findings()).toEqual([]);
    expect(integrity.explained).toEqual([{ from: "ana", chain: chainOf(one).id, n: 1, dropped: "old_epoch" }]);
    // Another frame that was dropped does not explain it.
    const other = new Integrity();
    other.dropped("f".repeat(32), one.from, "bad_signature");
    expect(readOf([zero, two], other).findings()).toMatchObject([{ first: 1, last: 1 }]);
  });

  test("is missing for sure once its sender said that it was stored, and may be in flight before", () => {
    const [zero, one, two, three] = sentInTurn(4) as [LinkedMessage, LinkedMessage, LinkedMessage, LinkedMessage];
    expect(findingsOf([zero, two, three])).toMatchObject([{ first: 1, inFlight: "no" }]);
    // The third one was sent before the second one was acknowledged.
    const early = { ...two, header: { ...two.header, heads: one.header.heads } };
    expect(findingsOf([zero, early])).toMatchObject([{ first: 1, inFlight: "yes" }]);
    expect(findingsOf([zero, { ...two, header: { chain: two.header.chain } }])).toMatchObject([{ inFlight: "maybe" }]);
  });
});

describe("a statement that a message names", () => {
  const message = (version: number): LinkedMessage => {
    const header = { statement: { version, hash: "a".repeat(32) } };
    return { id: newUlid(version), from: "ana", hash: `${version}`.repeat(32), header, erased: null, byOwner: false };
  };

  test("and that the room does not have is named, until the room has it", () => {
    let newest = 1;
    const integrity = new Integrity(({ version }) => version <= newest);
    integrity.add(message(1));
    expect(integrity.findings()).toEqual([]);
    integrity.add(message(2));
    expect(integrity.findings()).toMatchObject([{ what: "statement", first: 2, saidBy: "ana" }]);
    newest = 2;
    expect(integrity.findings()).toEqual([]);
  });
});

describe("the bounds", () => {
  test("no member's word fills all places", () => {
    const integrity = new Integrity();
    const at = (from: string, n: number, chain: string): LinkedMessage => {
      const header = { chain: { id: chain, n, hash: noHash } };
      return { id: newUlid(n), from, hash: halfHash(`${from}${n}${chain}`), header, erased: null, byOwner: false };
    };
    for (let n = 0; n < 400; n += 2) integrity.add(at("eve", n, "e".repeat(16)));
    for (const n of [0, 2]) integrity.add(at("ana", n, "a".repeat(16)));
    const from = (name: string) => integrity.findings().filter((finding) => finding.from === name).length;
    expect([from("eve"), from("ana")]).toEqual([16, 1]);
  });

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
});
