/** What a client says of its own messages and of those that it saw. Source: docs/protocol/history.md. */
import { describe, expect, test } from "bun:test";
import type { Received } from "../../src/client/rooms/receiver.ts";
import { SenderChain } from "../../src/client/rooms/sender-chain.ts";
import { noHash } from "../../src/wire/chain-entry.ts";
import { bytesOf } from "../../src/wire/encoding.ts";
import { newUlid } from "../../src/wire/ulid.ts";

describe("the links of a message", () => {
  test("the heads of a message name other chains, one of each sender, four at most", () => {
    const chain = new SenderChain();
    const own = chain.next({ version: 1, hash: noHash }).chain ?? { id: "", n: 0, hash: "" };
    const senders = ["a", "b", "c", "d", "e"].map((name) => `${name.repeat(42)}A`);
    const seen = (from: string, id: string, n: number) => {
      const frame = { t: 0, s: "room.test", from, id: newUlid(n), e: 1, p: "AA==" } as const;
      const content = { kind: "text", header: { chain: { id, n, hash: noHash } }, body: new Uint8Array() } as const;
      chain.saw({ frame, content, hash: noHash, verified: true } as unknown as Received, true);
    };
    seen(senders[0] ?? "", own.id, 99);
    for (const [at, from] of senders.entries()) for (const n of [10, 20]) seen(from, `${at}`.repeat(16), n + at);
    const { heads = [] } = chain.next({ version: 1, hash: noHash });
    expect(heads.map(({ id, n }) => [id[0], n])).toEqual([1, 2, 3, 4].map((at) => [`${at}`, 20 + at]));
  });

  test("the heads of a message begin with the sender's own newest one that is stored", () => {
    const chain = new SenderChain();
    const statement = { version: 1, hash: noHash };
    const ends = Array.from({ length: 4 }, (_, n) => {
      chain.next(statement);
      return chain.sealed(bytesOf(`${n}`));
    });
    const own = () => chain.next(statement).heads?.[0]?.n;
    const after: (number | undefined)[] = [own()];
    // The first one comes last, and the third one was given up: nothing above it counts before it is declared.
    for (const [at, isStored] of [
      [1, true],
      [3, true],
      [2, false],
      [0, true],
    ] as const) {
      ends[at]?.(isStored);
      after.push(own());
    }
    expect(after).toEqual([undefined, undefined, undefined, undefined, 1]);
    chain.sealed(bytesOf("declares the third one"))(true);
    expect(own()).toBe(4);
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

  test("go on where an earlier run ended, unless a message was in flight", () => {
    const statement = { version: 1, hash: noHash };
    const first = new SenderChain();
    expect(first.kept).toBeNull();
    const { chain } = first.next(statement);
    const onEnd = first.sealed(bytesOf("one"));
    expect(first.kept).toBeNull();
    onEnd(true);
    const second = new SenderChain();
    second.resume(JSON.parse(JSON.stringify(first.kept)));
    const next = second.next(statement);
    expect(next).toMatchObject({ chain: { id: chain?.id, n: 1 }, heads: [{ id: chain?.id, n: 0 }] });
    for (const wrong of [
      null,
      {},
      { ...first.kept, n: 0 },
      { ...first.kept, id: "x" },
      { ...first.kept, void: [-1] },
    ]) {
      const third = new SenderChain();
      third.resume(wrong);
      expect(third.next(statement).chain).toMatchObject({ n: 0 });
    }
  });
});
