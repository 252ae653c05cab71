/**
 * Room statements: the ten signed lines that fix a room's whole state at one version (subject, policy, epoch, owners,
 * members). Each statement contains the hash of the one before, so they form a chain; `chain.ts` checks the steps.
 * Owners' clients build and sign them with `nextState`; the plugin `rooms` computes the same state and compares.
 * Invariant: the text is the data, and nothing else on the wire repeats it. Source: docs/protocol/rooms.md.
 */
import { bytesOf, sha256Hex } from "./encoding.ts";

/** A member's role in a room. */
export type RoomRole = "owner" | "member";

/**
 * A room's policy: what it requires of frames, and whether they are stored. It never changes.
 * Source: docs/protocol/rooms.md.
 */
export interface Policy {
  readonly encrypt: boolean;
  readonly persist: boolean;
  readonly sign_msgs: boolean;
}

/**
 * One membership period (a "stay") of one member, as the members hash covers it: `since` is the epoch in which the
 * member joined, `until` the epoch in which they left, or 0 while they are a member. Source: docs/protocol/rooms.md.
 */
export interface MemberLine {
  readonly endpoint: string;
  readonly sign_pub: string;
  readonly kex_pub: string;
  readonly role: RoomRole;
  readonly since: number;
  readonly until: number;
}

/** The complete state of a room that one statement fixes. */
export interface RoomState {
  readonly roomId: string;
  readonly version: number;
  /** Hex sha256 of the previous statement, or 64 zeros for version 1. */
  readonly prev: string;
  readonly subject: string;
  readonly policy: Policy;
  readonly epoch: number;
  readonly keyCheck: string;
  readonly lines: readonly MemberLine[];
}

/** The placeholder hash, where there is nothing to hash. */
export const zeroHash = "0".repeat(64);

/** The most owners that a room may have. Source: docs/protocol/rooms.md. */
export const ownersMax = 100;

/** The ten lines of a statement, in order. Fixed. Source: docs/protocol/rooms.md. */
export const statementLines = [
  "kind",
  "room_id",
  "version",
  "prev",
  "subject",
  "policy",
  "epoch",
  "key_check",
  "owners",
  "members",
] as const;

const kind = "unibus-room-v1";
const hashShape = /^[0-9a-f]{64}$/;
const numberShape = /^[1-9][0-9]{0,9}$/;

/** The largest epoch, limited by the frame format. Source: docs/protocol/frames.md. */
export const epochMax = 2 ** 31 - 1;

/** Hex sha256 by which a member recognises the room key of an epoch. Source: docs/protocol/rooms.md. */
export function keyCheck(roomId: string, epoch: number, roomKey: Uint8Array): string {
  return sha256Hex(new Uint8Array([...bytesOf(`unibus-key-v1\n${roomId}\n${epoch}\n`), ...roomKey]));
}

/** The policy as three digits: encrypt, persist, sign_msgs. */
export function policyDigits(policy: Policy): string {
  return [policy.encrypt, policy.persist, policy.sign_msgs].map((on) => (on ? "1" : "0")).join("");
}

const byStay = (a: MemberLine, b: MemberLine): number =>
  a.endpoint < b.endpoint ? -1 : a.endpoint > b.endpoint ? 1 : a.since - b.since;

/** The text that the members hash covers: one line for each membership period, each ended by LF. */
export function memberLinesText(lines: readonly MemberLine[]): string {
  return [...lines]
    .sort(byStay)
    .map((line) => `${line.endpoint} ${line.sign_pub} ${line.kex_pub} ${line.role} ${line.since} ${line.until}\n`)
    .join("");
}

/** The signing keys of the current owners, ascending. */
export function ownersOf(lines: readonly MemberLine[]): string[] {
  return lines
    .filter((line) => line.role === "owner" && line.until === 0)
    .map((line) => line.sign_pub)
    .sort();
}

/** The text that an owner signs. The text is the data: nothing else on the wire repeats it. */
export function statementText(state: RoomState): string {
  return [
    kind,
    state.roomId,
    state.version,
    state.prev,
    state.subject,
    policyDigits(state.policy),
    state.epoch,
    state.keyCheck,
    ownersOf(state.lines).join(","),
    sha256Hex(memberLinesText(state.lines)),
  ].join("\n");
}

/** The fields of a statement's text. It contains only the hash of the member lines, not the lines. */
export interface ParsedStatement {
  readonly roomId: string;
  readonly version: number;
  readonly prev: string;
  readonly subject: string;
  readonly policy: Policy;
  readonly epoch: number;
  readonly keyCheck: string;
  readonly owners: readonly string[];
  readonly membersHash: string;
}

/** Names a line of a statement in an error message: `line 7 (epoch)`. */
export function lineName(index: number): string {
  return `line ${index + 1} (${statementLines[index] ?? "more than ten"})`;
}

/**
 * Parses a statement, or explains in one sentence which line is malformed.
 * It only checks the format. The caller checks whether room_id and subject are allowed, and whether the state is true.
 */
export function parseStatement(text: string): ParsedStatement | { readonly fault: string } {
  const lines = text.split("\n");
  if (lines.length !== statementLines.length) {
    return { fault: `a statement must have ${statementLines.length} lines, not ${lines.length}` };
  }
  const [first, roomId, version, prev, subject, policy, epoch, check, owners, members] = lines as [
    string,
    string,
    string,
    string,
    string,
    string,
    string,
    string,
    string,
    string,
  ];
  const ownerKeys = owners.split(",");
  const shapes = [
    first === kind,
    roomId !== "",
    numberShape.test(version),
    hashShape.test(prev),
    subject !== "",
    /^[01]{3}$/.test(policy),
    numberShape.test(epoch) && Number(epoch) <= epochMax,
    hashShape.test(check) && (check === zeroHash) === (policy[0] === "0"),
    ownerKeys.every((key, i) => hashShape.test(key) && (i === 0 || key > (ownerKeys[i - 1] ?? ""))),
    hashShape.test(members),
  ];
  const wrong = shapes.indexOf(false);
  if (wrong !== -1) return { fault: `${lineName(wrong)} of the statement is malformed` };
  return {
    roomId,
    version: Number(version),
    prev,
    subject,
    policy: { encrypt: policy[0] === "1", persist: policy[1] === "1", sign_msgs: policy[2] === "1" },
    epoch: Number(epoch),
    keyCheck: check,
    owners: ownerKeys,
    membersHash: members,
  };
}

/** The first line in which two statements differ, counted from 0. Returns null if they are the same text. */
export function firstDifference(text: string, expected: string): number | null {
  if (text === expected) return null;
  const [a, b] = [text.split("\n"), expected.split("\n")];
  for (let i = 0; i < Math.max(a.length, b.length); i++) if (a[i] !== b[i]) return i;
  return null;
}

/** A change of a room's member lines. Every new epoch ends the membership periods of the `gone` members. */
export type StateChange =
  | { readonly kind: "add"; readonly members: readonly Pick<MemberLine, "endpoint" | "sign_pub" | "kex_pub">[] }
  | { readonly kind: "rotate"; readonly gone: ReadonlySet<string>; readonly keyCheck: string }
  | { readonly kind: "role"; readonly endpoint: string; readonly role: RoomRole };

/** Applies a change to a state. The owner's client signs the result, and the server expects the same one. */
export function nextState(state: RoomState, change: StateChange): RoomState {
  const next = { ...state, version: state.version + 1, prev: sha256Hex(statementText(state)) };
  const isIn = (line: MemberLine, endpoint: string) => line.until === 0 && line.endpoint === endpoint;
  switch (change.kind) {
    case "add": {
      const added = change.members.map(
        (member): MemberLine => ({ ...member, role: "member", since: state.epoch, until: 0 }),
      );
      return { ...next, lines: [...state.lines, ...added] };
    }
    case "rotate": {
      const epoch = state.epoch + 1;
      const lines = state.lines.map((line) =>
        line.until === 0 && change.gone.has(line.endpoint) ? { ...line, until: epoch } : line,
      );
      return { ...next, epoch, keyCheck: change.keyCheck, lines };
    }
    case "role":
      return {
        ...next,
        lines: state.lines.map((line) => (isIn(line, change.endpoint) ? { ...line, role: change.role } : line)),
      };
  }
}
