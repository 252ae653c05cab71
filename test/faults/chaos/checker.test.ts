/** The checker of the chaos runs detects every violation, and reports no false ones. */
import { expect, test } from "bun:test";
import { cutAfterFaultMsMax, cutMsMax, judge } from "./checker.ts";
import type { Happening, Remains, Way } from "./record.ts";

const frame = (text: string, seq: number): Happening => ({ kind: "frame", at: 1, room: "r", text, seq });
const removed = { kind: "removed", at: 1_000, who: "eve", room: null } as const;
const fault = { kind: "fault", at: 5_000, began: 500, repaired: 5_000, what: "cut", node: 1 } as const;
const check = (began: number, way: Way, outcome: "denied" | "unanswered" | "admitted"): Happening => ({
  ...{ kind: "check", at: began + 1, began, node: 0, who: "eve", room: null, way, outcome },
});
const change = (at: number, version: number): Happening => ({ kind: "change", at, room: "r", version });
const read = (began: number, version: number, epoch: number): Happening => ({
  ...{ kind: "read", at: began + 5, began, node: 0, room: "r", version, epoch },
});
const redeemed = (who: string): Happening => ({ kind: "redeemed", at: 1, handle: "h", who });
const claimed = (room: string): Happening => ({ kind: "claimed", at: 1, subject: "s", room });

const good: Remains = {
  frames: [new Map([["r", ["a", "b", "never acknowledged"]]]), new Map([["r", ["never acknowledged", "b", "a"]]])],
  users: new Map([["h", ["bob"]]]),
  rooms: new Map([["s", ["x"]]]),
};
const nothing: Remains = { frames: [], users: new Map(), rooms: new Map() };

test("a correct run has no violations, and its checks are counted", () => {
  const all = [
    ...[frame("a", 1), frame("b", 2), removed, redeemed("bob"), redeemed("bob"), claimed("x")],
    ...[check(900, "http", "admitted"), check(1_001, "http", "denied"), check(1_002, "login", "unanswered")],
    ...[change(10, 2), read(11, 2, 1), read(12, 3, 2), read(20, 3, 2)],
    // The read began before the change was acknowledged, so it may return the earlier state.
    ...[change(40, 4), read(39, 3, 2)],
    ...[fault, check(removed.at + cutMsMax - 1, "publish", "admitted")],
    check(fault.repaired + cutAfterFaultMsMax - 1, "publish", "admitted"),
  ];
  expect(judge(all, good)).toEqual({
    ...{ violations: [], checks: { http: 2, publish: 2 }, unanswered: 1 },
    ...{ admitted: 2, latestMs: fault.repaired + cutAfterFaultMsMax - 1 - removed.at },
  });
});

const bad: Readonly<Record<string, readonly [readonly Happening[], Remains, string]>> = {
  "a lost frame": [
    [frame("c", 3)],
    { ...good, frames: good.frames.slice(0, 1) },
    "node 0 has lost 1 acknowledged frames: c (3 of r)",
  ],
  "a frame that one node does not have": [
    [frame("a", 1)],
    { ...good, frames: [good.frames[0] ?? new Map(), new Map()] },
    "node 1 has lost 1",
  ],
  "two frames with one sequence": [[frame("a", 1), frame("b", 1)], good, "a and b were both acknowledged as 1 of r"],
  "a stale allow": [[removed, check(1_001, "http", "admitted")], nothing, "admitted eve by http, 0.00 s after"],
  "a stale allow during a fault": [
    [removed, fault, check(2_000, "login", "admitted")],
    nothing,
    "admitted eve by login, 1.00 s after",
  ],
  "a connection that is not closed": [
    [removed, check(removed.at + cutMsMax + 1, "publish", "admitted")],
    nothing,
    "admitted eve by publish, 2.00 s after",
  ],
  "a connection that is not closed after the repair": [
    [removed, fault, check(fault.repaired + cutAfterFaultMsMax + 1, "publish", "admitted")],
    nothing,
    "by publish",
  ],
  "a read that does not show an acknowledged change": [
    [change(10, 2), read(11, 1, 1)],
    nothing,
    "at version/epoch 1/1 after 2",
  ],
  "an epoch that goes back": [[read(10, 1, 2), read(20, 1, 1)], nothing, "at version/epoch 1/1 after 1/2"],
  "an invite redeemed by two users": [[redeemed("ana"), redeemed("bob")], nothing, "the invite of h was redeemed by 2"],
  "an invite that made two users": [[], { ...nothing, users: new Map([["h", ["a", "b"]]]) }, "made 2 users"],
  "a redemption without a user": [[redeemed("ana")], good, "ana redeemed h and is not a user"],
  "a subject claimed by two rooms": [[claimed("x"), claimed("y")], nothing, "s was given to 2 rooms"],
  "a subject with two rooms": [[], { ...nothing, rooms: new Map([["s", ["x", "y"]]]) }, "s belongs to 2 rooms"],
  "a claim without a room": [[claimed("y")], good, "y was given s and does not exist"],
};
for (const [what, [all, remains, message]] of Object.entries(bad)) {
  test(`${what} is a violation`, () => {
    const { violations } = judge(all, remains);
    expect(violations).toHaveLength(1);
    expect(violations[0]).toContain(message);
  });
}
