import { bytesOf, sha256Hex } from "./encoding.ts";

/** A role in a room. */
export type RoomRole = "owner" | "member";

/** What a room demands of its frames, and whether they are kept. Never changes. Source: spec 3. */
export interface Policy {
  readonly encrypt: boolean;
  readonly persist: boolean;
  readonly sign_msgs: boolean;
}

/** One stay of one member, as the members hash covers it. `until` 0: still in. Units: epochs. Source: spec 3. */
export interface MemberLine {
  readonly endpoint: string;
  readonly sign_pub: string;
  readonly kex_pub: string;
  readonly role: RoomRole;
  readonly since: number;
  readonly until: number;
}

/** The whole state of a room that one statement fixes. */
export interface RoomState {
  readonly roomId: string;
  readonly version: number;
  /** Hex sha256 of the statement before, 64 zeros for version 1. */
  readonly prev: string;
  readonly subject: string;
  readonly policy: Policy;
  readonly epoch: number;
  readonly keyCheck: string;
  readonly lines: readonly MemberLine[];
}

/** Where a hash is due and there is nothing to hash. */
export const zeroHash = "0".repeat(64);

/** The most owners of a room. Source: spec 3. */
export const ownersMax = 100;

/** The ten lines of a statement, in order. Fixed. Source: spec 3. */
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

/** The largest epoch: a frame carries no more. Source: spec 4. */
export const epochMax = 2 ** 31 - 1;

/** Hex sha256 by which a member recognises the room key of an epoch. Source: spec 3. */
export function keyCheck(roomId: string, epoch: number, roomKey: Uint8Array): string {
  return sha256Hex(new Uint8Array([...bytesOf(`unibus-key-v1\n${roomId}\n${epoch}\n`), ...roomKey]));
}

/** Three digits: encrypt, persist, sign_msgs. */
export function policyDigits(policy: Policy): string {
  return [policy.encrypt, policy.persist, policy.sign_msgs].map((on) => (on ? "1" : "0")).join("");
}

const byStay = (a: MemberLine, b: MemberLine): number =>
  a.endpoint < b.endpoint ? -1 : a.endpoint > b.endpoint ? 1 : a.since - b.since;

/** The text that the members hash covers: one line for each stay, each ended by LF. */
export function memberLinesText(lines: readonly MemberLine[]): string {
  return [...lines]
    .sort(byStay)
    .map((line) => `${line.endpoint} ${line.sign_pub} ${line.kex_pub} ${line.role} ${line.since} ${line.until}\n`)
    .join("");
}

/** The keys of those who own the room now, ascending. */
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

/** What a statement's text says by itself; the members it names by their hash only. */
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

/** The line of a statement, for a sentence about it: `line 7 (epoch)`. */
export function lineName(index: number): string {
  return `line ${index + 1} (${statementLines[index] ?? "more than ten"})`;
}

/**
 * Reads a statement, or says in one sentence which line is wrong.
 * It checks shape alone: whether room_id and subject are allowed, and whether the state is true, is for the caller.
 */
export function parseStatement(text: string): ParsedStatement | { readonly fault: string } {
  const lines = text.split("\n");
  if (lines.length !== statementLines.length) {
    return { fault: `a statement has ${statementLines.length} lines, this one has ${lines.length}` };
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
  if (wrong !== -1) return { fault: `${lineName(wrong)} of the statement is not as it must be` };
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

/** The first line in which two statements differ, counted from 0, or null when they are the same text. */
export function firstDifference(text: string, expected: string): number | null {
  if (text === expected) return null;
  const [a, b] = [text.split("\n"), expected.split("\n")];
  for (let i = 0; i < Math.max(a.length, b.length); i++) if (a[i] !== b[i]) return i;
  return null;
}

/** What a change of a room does to its lines. Every change of the epoch ends the stays of those who are `gone`. */
export type StateChange =
  | { readonly kind: "add"; readonly members: readonly Pick<MemberLine, "endpoint" | "sign_pub" | "kex_pub">[] }
  | { readonly kind: "rotate"; readonly gone: ReadonlySet<string>; readonly keyCheck: string }
  | { readonly kind: "role"; readonly endpoint: string; readonly role: RoomRole };

/** The state that follows from a state and a change: what the owner's client signs, and what the server expects. */
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
