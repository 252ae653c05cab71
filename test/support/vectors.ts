import { fromHex } from "../../src/wire/encoding.ts";
import type { MemberLine, RoomState } from "../../src/wire/statement.ts";
import vectors from "../golden/vectors.json";
import own from "../golden/vectors-own.json";

/** Values that an independent program computed. */
/** The envelopes of this repository alone: reactions, a title, and a file of two parts. Computed in Python. */
export { own as ownEnvelopes, vectors };

/** All values that `unibus vectors` prints. */
export const allVectors = { ...vectors, envelope_extra: own };

/** Returns an item of a list of vectors; a missing one means a damaged file. */
export function at<T>(list: readonly T[], index: number): T {
  const found = list[index];
  if (found === undefined) throw new Error(`no vector ${index}`);
  return found;
}

/** Decodes bytes that a test writes as hex. */
export function bytes(hex: string): Uint8Array {
  const found = fromHex(hex);
  if (found === null) throw new Error(`${hex} is not hex`);
  return found;
}

/** Parses the member lines of a text as the members hash covers it. */
export function linesOf(text: string): MemberLine[] {
  return text
    .trimEnd()
    .split("\n")
    .map((line) => {
      const [endpoint = "", sign_pub = "", kex_pub = "", role, since, until] = line.split(" ");
      if (role !== "owner" && role !== "member") throw new Error(`no role in ${line}`);
      return { endpoint, sign_pub, kex_pub, role, since: Number(since), until: Number(until) };
    });
}

/** Returns the room of the vectors after its nth statement, counted from 0. */
export function vectorState(index: number): RoomState {
  const given = at(vectors.room_statement, index);
  const digits = given.policy;
  return {
    roomId: given.room_id,
    version: given.version,
    prev: given.prev,
    subject: given.subject,
    policy: { encrypt: digits[0] === "1", persist: digits[1] === "1", sign_msgs: digits[2] === "1" },
    epoch: given.epoch,
    keyCheck: given.key_check,
    lines: linesOf(given.member_lines),
  };
}
