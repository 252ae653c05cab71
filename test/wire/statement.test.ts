/**
 * Statements, which record each version of a room: building, hashing, parsing, and the next state after each change.
 * Compared with the test vectors.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { sha256Hex } from "../../src/wire/encoding.ts";
import { builtinNamespaces, endpointId } from "../../src/wire/names.ts";
import * as statement from "../../src/wire/statement.ts";
import { at, bytes, linesOf, vectorState, vectors } from "../support/vectors.ts";

const given = vectors.room_statement;

const key = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((raw) => Buffer.from(raw).toString("hex"));
const epoch = fc.integer({ min: 1, max: statement.epochMax });
const line = fc
  .record({
    sign_pub: key,
    kex_pub: key,
    role: fc.constantFrom<statement.RoomRole[]>("owner", "member"),
    since: epoch,
    until: fc.oneof(fc.constant(0), epoch),
  })
  .map((made): statement.MemberLine => ({ ...made, endpoint: endpointId(made.sign_pub) }));
const policy = fc.record({ encrypt: fc.boolean(), persist: fc.boolean(), sign_msgs: fc.boolean() });
const owner = line.map((made): statement.MemberLine => ({ ...made, role: "owner", until: 0 }));
const state: fc.Arbitrary<statement.RoomState> = fc
  .record({
    roomId: fc.constantFrom(vectors.blob.room_id, "01BX5ZZKBKACTAV9WEVGEMMVRZ"),
    version: fc.integer({ min: 1, max: 9_999_999_999 }),
    prev: key,
    subject: fc.constantFrom(...builtinNamespaces).map((namespace) => `${namespace}.general`),
    policy,
    epoch,
    keyCheck: key,
    owner,
    others: fc.uniqueArray(line, { maxLength: 8, selector: (made) => made.sign_pub }),
  })
  .map(({ owner: first, others, ...made }) => ({
    ...made,
    keyCheck: made.policy.encrypt ? made.keyCheck : statement.zeroHash,
    lines: [first, ...others],
  }));

describe("the vectors", () => {
  test.each(given)("statement $version is built, hashed and read", (one) => {
    const built = vectorState(one.version - 1);
    expect(statement.memberLinesText(linesOf(one.member_lines).reverse())).toBe(one.member_lines);
    expect(sha256Hex(one.member_lines)).toBe(one.members);
    expect(statement.ownersOf(built.lines).join(",")).toBe(one.owners);
    expect(statement.statementText(built)).toBe(one.text);
    expect(sha256Hex(one.text)).toBe(one.text_hash);
    expect(statement.parseStatement(one.text)).toEqual({
      roomId: one.room_id,
      version: one.version,
      prev: one.prev,
      subject: one.subject,
      policy: built.policy,
      epoch: one.epoch,
      keyCheck: one.key_check,
      owners: [one.owners],
      membersHash: one.members,
    });
  });

  test.each(vectors.key_check)("the key check of epoch $epoch", (one) => {
    expect(statement.keyCheck(one.room_id, one.epoch, bytes(one.room_key))).toBe(one.key_check);
  });
});

describe("nextState", () => {
  const [first, second, third] = [0, 1, 2].map(vectorState) as [
    statement.RoomState,
    statement.RoomState,
    statement.RoomState,
  ];
  const added = at(second.lines, 0);

  test("of an added member is the second statement", () => {
    const { endpoint, sign_pub, kex_pub } = added;
    const next = statement.nextState(first, { kind: "add", members: [{ endpoint, sign_pub, kex_pub }] });
    expect(statement.statementText(next)).toBe(at(given, 1).text);
  });

  test("of a kick is the third statement, and closes only the stay of the kicked member", () => {
    const change = { kind: "rotate", gone: new Set([added.endpoint]), keyCheck: third.keyCheck } as const;
    expect(statement.statementText(statement.nextState(second, change))).toBe(at(given, 2).text);
  });

  test("of a rekey closes no stay", () => {
    const next = statement.nextState(second, { kind: "rotate", gone: new Set(), keyCheck: third.keyCheck });
    expect(next).toMatchObject({ epoch: 2, version: 3, lines: second.lines });
  });

  test("of a second kick leaves the closed stay unchanged", () => {
    const gone = new Set([added.endpoint]);
    const next = statement.nextState(third, { kind: "rotate", gone, keyCheck: third.keyCheck });
    expect(next.lines).toEqual(third.lines);
  });

  test("of a role makes an owner, and changes only the open stay", () => {
    const { endpoint, sign_pub, kex_pub } = added;
    const back = statement.nextState(third, { kind: "add", members: [{ endpoint, sign_pub, kex_pub }] });
    const next = statement.nextState(back, { kind: "role", endpoint, role: "owner" });
    expect(statement.ownersOf(next.lines)).toEqual([at(given, 0).owners, sign_pub].sort());
    expect(
      next.lines.filter((one) => one.endpoint === endpoint).map((one) => [one.role, one.since, one.until]),
    ).toEqual([
      ["member", 1, 2],
      ["owner", 2, 0],
    ]);
    expect(next).toMatchObject({ version: 5, epoch: 2, prev: sha256Hex(statement.statementText(back)) });
  });

  test("never modifies the given state", () => {
    fc.assert(
      fc.property(state, (before) => {
        const copy = structuredClone(before);
        const { endpoint } = at(before.lines, 0);
        statement.nextState(before, { kind: "rotate", gone: new Set([endpoint]), keyCheck: before.keyCheck });
        statement.nextState(before, { kind: "role", endpoint, role: "member" });
        expect(before).toEqual(copy);
      }),
    );
  });
});

describe("a statement", () => {
  test("reads back as what it was built from", () => {
    fc.assert(
      fc.property(state, (built) => {
        const text = statement.statementText(built);
        const { lines, ...rest } = built;
        expect(statement.parseStatement(text)).toEqual({
          ...rest,
          owners: statement.ownersOf(lines),
          membersHash: sha256Hex(statement.memberLinesText(lines)),
        });
        expect(text.split("\n")).toHaveLength(statement.statementLines.length);
      }),
    );
  });

  test("does not depend on the order of its members", () => {
    fc.assert(
      fc.property(state, (built) => {
        const turned = { ...built, lines: [...built.lines].reverse() };
        expect(statement.statementText(turned)).toBe(statement.statementText(built));
      }),
    );
  });

  test("differs from a changed one first in the changed line", () => {
    fc.assert(
      fc.property(state, fc.nat(9), (built, place) => {
        const text = statement.statementText(built);
        const other = text.split("\n").with(place, "other").join("\n");
        expect(statement.firstDifference(text, text)).toBeNull();
        expect(statement.firstDifference(other, text)).toBe(place);
      }),
    );
  });

  test("differs from a longer one first in the extra line", () => {
    const { text } = at(given, 0);
    expect(statement.firstDifference(`${text}\n`, text)).toBe(10);
    expect(statement.lineName(10)).toBe("line 11 (more than ten)");
    expect(statement.lineName(6)).toBe("line 7 (epoch)");
  });
});

describe("a malformed statement is refused", () => {
  const lines = at(given, 0).text.split("\n");
  const own = at(given, 0).owners;
  const other = "f".repeat(64);
  const bad: [number, string][] = [
    [0, "unibus-room-v2"],
    [0, " unibus-room-v1"],
    [1, ""],
    [2, "0"],
    [2, "01"],
    [2, "+1"],
    [2, "1.0"],
    [2, "1e3"],
    [2, "-1"],
    [2, " 1"],
    [2, ""],
    [2, "12345678901"],
    [3, statement.zeroHash.slice(1)],
    [3, `${statement.zeroHash}0`],
    [3, other.toUpperCase()],
    [4, ""],
    [5, "11"],
    [5, "1111"],
    [5, "112"],
    [5, "true"],
    [6, "0"],
    [6, "2147483648"],
    [6, "1 "],
    [7, statement.zeroHash],
    [7, "x".repeat(64)],
    [8, ""],
    [8, own.toUpperCase()],
    [8, `${own},`],
    [8, `,${own}`],
    [8, `${own}, ${other}`],
    [8, `${other},${own}`],
    [8, `${own},${own}`],
    [9, ""],
    [9, other.toUpperCase()],
    [9, `${other}\r`],
  ];
  test.each(bad)("in line %d: %j", (place, value) => {
    const fault = statement.parseStatement(lines.with(place, value).join("\n"));
    expect(fault).toEqual({ fault: `${statement.lineName(place)} of the statement is malformed` });
  });

  test("with a key check in an unencrypted room", () => {
    const open = lines.with(5, "011");
    expect(statement.parseStatement(open.join("\n"))).toEqual({
      fault: "line 8 (key_check) of the statement is malformed",
    });
    expect(statement.parseStatement(open.with(7, statement.zeroHash).join("\n"))).toMatchObject({
      policy: { encrypt: false, persist: true, sign_msgs: true },
    });
  });

  test.each([
    ["nothing", ""],
    ["with nine lines", lines.slice(1).join("\n")],
    ["with eleven lines", [...lines, ""].join("\n")],
    ["CRLF", lines.join("\r")],
  ])("%s", (_, text) => {
    expect(statement.parseStatement(text)).toEqual({ fault: expect.stringContaining("10 lines") });
  });

  test("two owners in order are accepted", () => {
    const both = [own, other].sort();
    expect(statement.parseStatement(lines.with(8, both.join(",")).join("\n"))).toMatchObject({ owners: both });
  });
});
