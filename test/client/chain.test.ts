/** Which statements a client accepts as a room's history. Source: docs/protocol/rooms.md. */
import { describe, expect, test } from "bun:test";
import { generateIdentity, type Identity, identityFromSeeds } from "../../src/client/crypto/identity.ts";
import { Chain, type GivenStatement } from "../../src/client/trust/chain.ts";
import { sha256Hex, toBase64 } from "../../src/wire/encoding.ts";
import { hasCode } from "../../src/wire/errors.ts";
import { nextState, type RoomState, statementText, zeroHash } from "../../src/wire/statement.ts";
import { signNow } from "../support/keys-now.ts";
import { at, bytes, vectorState, vectors } from "../support/vectors.ts";

const owner = await identityFromSeeds(bytes(vectors.keys.sign_seed), bytes(vectors.keys.kex_priv));
const stranger = await generateIdentity();
const given = vectors.room_statement.map(({ version, text, by, sig }) => ({ version, text, by, sig }));
const [first, second, third] = [at(given, 0), at(given, 1), at(given, 2)];
const { room_id: roomId } = at(vectors.room_statement, 0);
const hashOf = (index: number) => at(vectors.room_statement, index).text_hash;
const checkOf = (index: number) => at(vectors.key_check, index).key_check;
const owners = [owner.signPubHex];
const pin = (version: number, hash: string) => ({ version, hash, epoch: 1, owners, firstOwners: owners });

function signed(state: RoomState, by: Identity = owner, change: (text: string) => string = (text) => text) {
  const text = change(statementText(state));
  return { version: state.version, text, by: by.signPubHex, sig: toBase64(signNow(by, text)) };
}

async function chainOf(...statements: readonly GivenStatement[]): Promise<Chain> {
  const chain = new Chain(roomId);
  await chain.take(statements);
  return chain;
}

/** Why a chain rejects its input. */
async function faultOf(work: Promise<unknown>): Promise<string> {
  const error: unknown = await work.catch((thrown: unknown) => thrown);
  if (!hasCode(error, "room_forked")) throw new Error(`it was taken, or failed in another way: ${String(error)}`);
  return error.message;
}

const line = (index: number, value: string) => (text: string) => {
  const lines = text.split("\n");
  lines[index] = value;
  return lines.join("\n");
};

describe("a chain of statements", () => {
  test("accepts the statements of the vectors, at once or one by one, and the newest one again", async () => {
    const chain = new Chain(roomId);
    expect([chain.from, chain.head]).toEqual([1, null]);
    await chain.take([first]);
    expect([chain.from, chain.head?.hash]).toEqual([1, hashOf(0)]);
    await chain.take([first, second, third]);
    expect([chain.from, chain.head?.hash, chain.head?.parsed.epoch]).toEqual([3, hashOf(2), 2]);
    expect([1, 2, 3, 4].map((version) => chain.hashAt(version))).toEqual([hashOf(0), hashOf(1), hashOf(2), null]);
    expect([1, 2, 3].map((epoch) => chain.keyCheckAt(epoch))).toEqual([checkOf(0), checkOf(1), null]);
    expect((await chainOf(...given)).head).toEqual(chain.head);
  });

  test("continues from the version that the client has seen, and learns the earlier epochs", async () => {
    const chain = new Chain(roomId);
    chain.expect(pin(3, hashOf(2)));
    expect(chain.from).toBe(3);
    await chain.take([third]);
    expect([chain.keyCheckAt(1), chain.keyCheckAt(2)]).toEqual([null, checkOf(1)]);
    const asked: number[] = [];
    await chain.learnPast(async (from) => {
      asked.push(from);
      return given.slice(from - 1, from);
    });
    expect([asked, chain.keyCheckAt(1)]).toEqual([[1, 2], checkOf(0)]);
  });

  const forged = { ...first, text: first.text.replace("room.general", "room.generaI") };
  const resigned = (index: number, value: string) => signed(vectorState(1), owner, line(index, value));
  const otherRoom = "01ARZ3NDEKTSV4RRFFQ69G5FAW";
  const plain = (text: string) => line(7, zeroHash)(line(5, "011")(text));
  const rotated = (keyCheck: string) => nextState(vectorState(1), { kind: "rotate", gone: new Set(), keyCheck });
  const role = { kind: "role", endpoint: owner.endpoint, role: "owner" } as const;
  const smallOrder = `01${"00".repeat(31)}`;
  const anyones = toBase64(bytes(`01${"00".repeat(63)}`));
  const ofNobody = line(8, smallOrder)(first.text);
  const wrong: readonly (readonly [string, readonly GivenStatement[], string])[] = [
    ["does not start at version 1", [second], "out of order"],
    ["skips a version", [first, third], "out of order"],
    ["belongs to another room", [{ ...first, text: line(1, otherRoom)(first.text) }], "another room"],
    ["is labelled with another version", [{ ...first, version: 2 }], "has the wrong version"],
    ["is not a statement", [{ ...first, text: "hello" }], "10 lines"],
    ["has another text than the signed one", [forged], "not signed by an owner"],
    ["is signed by a non-owner", [first, signed(vectorState(1), stranger)], "not signed by an owner"],
    ["names an owner who did not sign it", [{ ...first, sig: second.sig }], "not signed by an owner"],
    ["has an invalid signature", [{ ...first, sig: "AA==" }], "not signed by an owner"],
    [
      "has a key under which every signature verifies",
      [{ version: 1, text: ofNobody, by: smallOrder, sig: anyones }],
      "signed",
    ],
    ["does not name its predecessor", [first, resigned(3, zeroHash)], "does not contain the hash of the previous"],
    ["changes the subject", [first, resigned(4, "room.other")], "subject"],
    ["drops the encryption", [first, signed(vectorState(1), owner, plain)], "policy"],
    ["skips an epoch", [first, resigned(6, "3")], "neither the current nor the next"],
    [
      "goes back by one epoch",
      [...given, signed({ ...nextState(vectorState(2), role), epoch: 1 })],
      "neither the current nor the next",
    ],
    ["changes the key within an epoch", [first, resigned(7, checkOf(1))], "key within an epoch"],
    ["keeps the key in a new epoch", [first, second, signed(rotated(checkOf(0)))], "does not change the key"],
    ["starts with a later epoch", [signed(vectorState(0), owner, line(6, "2"))], "does not start at epoch 1"],
    ["starts with a predecessor", [signed(vectorState(0), owner, line(3, hashOf(1)))], "names a previous statement"],
    [
      "gives a known version another text",
      [first, signed(vectorState(0), owner, line(4, "room.other"))],
      "two different statements",
    ],
  ];
  test.each(wrong)("rejects a statement that %s", async (_, statements, why) => {
    expect(await faultOf(chainOf(...statements))).toContain(why);
  });

  test("rejects another text for a version that the client has seen, in any position", async () => {
    for (const version of [1, 2, 3]) {
      const chain = new Chain(roomId);
      if (version > 1) await chain.take(given.slice(0, version - 1));
      chain.expect(pin(version, sha256Hex("another")));
      expect(await faultOf(chain.take(given.slice(Math.max(0, version - 2))))).toContain(
        `version ${version} differs from the one`,
      );
    }
    const late = await chainOf(...given);
    expect(() => late.expect(pin(2, sha256Hex("another")))).toThrow("two different statements");
  });

  test("learns the past only if it leads to the version that it has seen", async () => {
    const past: readonly (readonly [readonly GivenStatement[], string])[] = [
      [[], "missing"],
      [[second], "does not follow"],
      [[signed(vectorState(0), owner, line(7, checkOf(1))), second], "does not follow"],
      [[first, signed(vectorState(1), owner, line(7, checkOf(1)))], "do not follow the first ones"],
    ];
    for (const [statements, why] of past) {
      const chain = new Chain(roomId);
      chain.expect(pin(3, hashOf(2)));
      await chain.take([third]);
      expect(await faultOf(chain.learnPast(async () => statements))).toContain(why);
      expect(chain.keyCheckAt(1)).toBeNull();
    }
  });
});
