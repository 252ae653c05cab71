/**
 * The checker of the chaos runs: verifies a recorded history against the invariants that must hold under any fault.
 * Acknowledged frames, changes, invites and subjects are durable and unique, reads never go backwards, and no removed
 * user is admitted after a grace time for live connections. Pure functions; run.ts calls `judge` at the end of a run.
 */
import type { Happening, Remains } from "./record.ts";

/**
 * How long a live connection of a removed user may still be admitted, in milliseconds, while every node works: it is
 * disconnected at once, and what it sent before may still be acknowledged.
 */
export const cutMsMax = 2_000;
/** The same, counted from the end of a fault: a partitioned node checks its connections periodically. */
export const cutAfterFaultMsMax = 20_000;

/** The result of a run: every violation that was found. */
export interface Verdict {
  readonly violations: readonly string[];
  /** How many checks of removed users were answered, by way. */
  readonly checks: Readonly<Record<string, number>>;
  readonly unanswered: number;
  /** How often a live connection was admitted after the removal, within the bounds or not, and the longest delay. */
  readonly admitted: number;
  readonly latestMs: number;
}

type Of<K extends Happening["kind"]> = Extract<Happening, { kind: K }>;
type All = readonly Happening[];

const of = <K extends Happening["kind"]>(all: All, kind: K): Of<K>[] =>
  all.filter((one): one is Of<K> => one.kind === kind);

const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;

/** Every acknowledged frame is read back from every node, and no two frames share a sequence. */
function framesLost(all: All, remains: Remains): string[] {
  const frames = of(all, "frame");
  const found: string[] = [];
  for (const [node, rooms] of remains.frames.entries()) {
    const read = new Map([...rooms].map(([room, texts]) => [room, new Set(texts)]));
    const lost = frames.filter(({ room, text }) => !read.get(room)?.has(text));
    const names = lost.slice(0, 5).map(({ room, text, seq }) => `${text} (${seq} of ${room})`);
    if (lost.length > 0) found.push(`node ${node} has lost ${lost.length} acknowledged frames: ${names.join(", ")}`);
  }
  const places = new Map<string, string>();
  for (const { room, seq, text } of frames) {
    const other = places.get(`${room} ${seq}`);
    if (other !== undefined) found.push(`${other} and ${text} were both acknowledged as ${seq} of ${room}`);
    places.set(`${room} ${seq}`, text);
  }
  return found;
}

/** How long after its removal a user may be admitted: not at all, except on a connection opened before. */
function graceMs(check: Of<"check">, removedAt: number, faults: readonly Of<"fault">[]): number {
  if (check.way !== "publish") return 0;
  const near = faults.filter(({ began, repaired }) => repaired + cutAfterFaultMsMax > removedAt && began < check.began);
  const whole = Math.max(...near.map(({ repaired }) => repaired), Number.NEGATIVE_INFINITY);
  return Math.max(cutMsMax, whole + cutAfterFaultMsMax - removedAt);
}

type Admission = Of<"check"> & { readonly removedAt: number };

/** Returns the checks that were admitted although they began after the removal. */
function admissions(all: All): Admission[] {
  const removals = new Map(of(all, "removed").map((one) => [`${one.who} ${one.room}`, one.at]));
  return of(all, "check").flatMap((check) => {
    const removedAt = removals.get(`${check.who} ${check.room}`) ?? Number.POSITIVE_INFINITY;
    return check.outcome === "admitted" && check.began > removedAt ? [{ ...check, removedAt }] : [];
  });
}

/** A user whose removal was acknowledged before their check began is not admitted. */
function staleAllows(all: All): string[] {
  const faults = of(all, "fault");
  return admissions(all).flatMap((check) => {
    const late = check.began - check.removedAt;
    if (late <= graceMs(check, check.removedAt, faults)) return [];
    const from = check.room === null ? "the bus" : check.room;
    return [
      `node ${check.node} admitted ${check.who} by ${check.way}, ${seconds(late)} after the removal from ${from}`,
    ];
  });
}

/** Every later read sees an acknowledged state of a room, and neither version nor epoch goes backwards. */
function goneBack(all: All): string[] {
  const rooms = Map.groupBy(
    all.filter((one) => one.kind === "read" || one.kind === "change"),
    ({ room }) => room,
  );
  return [...rooms].flatMap(([room, happenings]) => {
    const known: { at: number; version: number; epoch: number }[] = [];
    const found: string[] = [];
    for (const one of happenings.toSorted((a, b) => a.at - b.at)) {
      const epoch = one.kind === "read" ? one.epoch : 0;
      if (one.kind === "read") {
        // A read must reflect only what was acknowledged before it began.
        const behind = known.findLast(({ at }) => at < one.began);
        if (behind !== undefined && (behind.version > one.version || behind.epoch > one.epoch)) {
          const [was, is] = [`${behind.version}/${behind.epoch}`, `${one.version}/${one.epoch}`];
          found.push(`node ${one.node} showed ${room} at version/epoch ${is} after ${was} had been seen`);
        }
      }
      const last = known.at(-1) ?? { version: 0, epoch: 0 };
      const next = { version: Math.max(last.version, one.version), epoch: Math.max(last.epoch, epoch) };
      known.push({ at: one.at, ...next });
    }
    return found;
  });
}

/** An invite makes one user: the one whose redemption was acknowledged. */
function invitesTwice(all: All, { users }: Remains): string[] {
  const winners = Map.groupBy(of(all, "redeemed"), ({ handle }) => handle);
  const handles = new Set([...winners.keys(), ...users.keys()]);
  return [...handles].flatMap((handle) => {
    const acknowledged = new Set(winners.get(handle)?.map(({ who }) => who));
    const there = new Set(users.get(handle));
    if (acknowledged.size > 1) return [`the invite of ${handle} was redeemed by ${acknowledged.size}`];
    if (there.size > 1) return [`the invite of ${handle} made ${there.size} users`];
    return [...acknowledged]
      .filter((who) => !there.has(who))
      .map((who) => `${who} redeemed ${handle} and is not a user`);
  });
}

/** A subject belongs to one room: the one whose claim was acknowledged. */
function ownersTwice(all: All, { rooms }: Remains): string[] {
  const claims = Map.groupBy(of(all, "claimed"), ({ subject }) => subject);
  const subjects = new Set([...claims.keys(), ...rooms.keys()]);
  return [...subjects].flatMap((subject) => {
    const acknowledged = new Set(claims.get(subject)?.map(({ room }) => room));
    const there = new Set(rooms.get(subject));
    if (acknowledged.size > 1) return [`${subject} was given to ${acknowledged.size} rooms`];
    if (there.size > 1) return [`${subject} belongs to ${there.size} rooms`];
    return [...acknowledged]
      .filter((room) => !there.has(room))
      .map((room) => `${room} was given ${subject} and does not exist`);
  });
}

/** Checks a recorded run against all invariants. */
export function judge(all: All, remains: Remains): Verdict {
  const checks = of(all, "check");
  const answered = checks.filter(({ outcome }) => outcome !== "unanswered");
  const admitted = admissions(all);
  const byWay = Object.groupBy(answered, ({ way }) => way);
  return {
    violations: [
      ...framesLost(all, remains),
      ...staleAllows(all),
      ...goneBack(all),
      ...invitesTwice(all, remains),
      ...ownersTwice(all, remains),
    ],
    checks: Object.fromEntries(Object.entries(byWay).map(([way, list]) => [way, list?.length ?? 0])),
    unanswered: checks.length - answered.length,
    admitted: admitted.length,
    latestMs: Math.max(0, ...admitted.map(({ began, removedAt }) => began - removedAt)),
  };
}
