/**
 * What a reader of a room knows of the integrity of its history, while it reads: `room.integrity`.
 *
 * The room's readers pass in what they deliver, and `Integrity` finds out what is missing. Before it is reported, the
 * messages in flight have some time to arrive, and the interval is read from the history again. Nothing here stops
 * reading or sending. Source: docs/protocol/history.md.
 */
import { LruCache } from "../../lib/lru-cache.ts";
import { halfHash } from "../../wire/chain-entry.ts";
import { toHex } from "../../wire/encoding.ts";
import { encodeFrame, type Frame, isDropped } from "../../wire/frame.ts";
import { ulidTimeMs } from "../../wire/ulid.ts";
import type { Refused } from "../crypto/frames.ts";
import type { ControlPlane } from "../transport/control.ts";
import type { RoomTrust } from "../trust/room-trust.ts";
import { memberNow } from "../trust/verified-room.ts";
import { pagesAfter } from "./history-pages.ts";
import { HistoryRead, inFlightMs } from "./history-read.ts";
import { type Explanation, Integrity, type IntegrityFinding, type LinkedMessage } from "./integrity.ts";
import type { Received, Receiver } from "./receiver.ts";

/** Findings are looked for after this time, so that messages which arrive together are judged together. */
const settleMs = 100;
/** How many claims of a member may prove empty. Further ones cause no read. Source: docs/protocol/history.md. */
const emptyMax = 3;
/** How many members' claims are counted. */
const claimantsMax = 1_024;
/** How many pages one read of an interval has; the next read goes on behind them. */
const pagesMax = 50;
const sha256Bytes = 32;
const halfBytes = 16;

/** A finding that was confirmed by reading the history again. */
export interface ReportedFinding extends IntegrityFinding {
  /** When this client noticed it, in milliseconds since 1970. */
  readonly sinceMs: number;
}

/** What the chains of a room's messages show so far. */
export interface RoomIntegrity {
  /**
   * `whole`: nothing that a message names is missing. `waiting`: something may be missing, and is not confirmed.
   * `gap`, `fork`: see `findings`. `unsigned`: the room does not sign messages, so any member can make or hide a gap.
   * `unknown`: nothing was read yet, or messages are missing in a room that keeps none.
   */
  readonly state: "whole" | "waiting" | "gap" | "fork" | "unsigned" | "unknown";
  /** The message from which on this holds; null if it holds from the room's first one. */
  readonly since: string | null;
  readonly findings: readonly ReportedFinding[];
  /** What explains the absence of messages that are missing but not reported. */
  readonly explained: readonly Explanation[];
  /** How many messages are missing in a room that keeps none: nothing can be read again there. */
  readonly lost: number;
}

/** The dependencies of an `IntegrityWatch`. */
export interface IntegrityDeps {
  readonly trust: RoomTrust;
  readonly control: ControlPlane;
  readonly receiver: () => Receiver;
  readonly onChange: (integrity: RoomIntegrity) => void;
  readonly onTrouble: (error: unknown) => void;
  readonly signal: AbortSignal;
}

interface Suspect {
  readonly finding: IntegrityFinding;
  readonly sinceMs: number;
  /** The count of messages from which on it is not in flight any more. */
  readonly dueCount: number;
  readonly dueMs: number;
  isReported: boolean;
  /** Everything up to this sequence number was read again. */
  readUpTo: number;
}

/** A page of a history that a reader read. */
export interface ReadPage {
  readonly messages: readonly Received[];
  /** A sequence number of the room that is not above those of the page. */
  readonly seq: number;
  readonly read: HistoryRead;
  /** The sequence number behind it if the reader has what follows there; infinity: what follows comes live; or null. */
  readonly end: number | null;
}

const isSame = (one: IntegrityFinding, other: IntegrityFinding): boolean =>
  one.what === other.what && one.chain === other.chain && one.first <= other.last && other.first <= one.last;

const claimantOf = ({ saidBy, from }: IntegrityFinding): string => saidBy ?? from ?? "";

/** A received message as a link. */
export function linkOf({ frame, content, hash }: Received, trust: RoomTrust): LinkedMessage {
  const { kind, header, body } = content;
  const erased = kind === "delete" && body.length === sha256Bytes ? toHex(body.subarray(0, halfBytes)) : null;
  const byOwner = memberNow(trust.room, frame.from)?.role === "owner";
  return { id: frame.id, from: frame.from, hash, header, erased, byOwner };
}

/** Creates the memory of a room's chains. */
export function integrityOf(trust: RoomTrust): Integrity {
  return new Integrity((statement) => trust.isBeforeStart(statement.version) || trust.hasStatement(statement));
}

/** Watches one room. */
export class IntegrityWatch {
  /** Tests lower these times: how long messages may take to arrive, and the pause between two reads for a claimant. */
  readonly times = { graceMs: 5_000, everyMs: 60_000, messages: 64 };
  readonly #integrity: Integrity;
  readonly #claimants = new LruCache<{ readonly nextMs: number; readonly empty: number }>(claimantsMax);
  readonly #isKept: boolean;
  readonly #isSigned: boolean;
  #suspects: Suspect[] = [];
  #current: RoomIntegrity;
  #count = 0;
  /** Everything after this sequence number was read. */
  #low = Number.POSITIVE_INFINITY;
  #looked = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerMs = Number.POSITIVE_INFINITY;
  #isReading = false;

  constructor(private readonly deps: IntegrityDeps) {
    const { persist, sign_msgs: signs } = deps.trust.room.state.policy;
    this.#isKept = persist;
    this.#isSigned = signs;
    this.#integrity = integrityOf(deps.trust);
    const state = signs ? "unknown" : "unsigned";
    this.#current = { state, since: null, findings: [], explained: [], lost: 0 };
  }

  /** The state as of the last change. */
  get current(): RoomIntegrity {
    return this.#current;
  }

  /** A message was delivered. `seq`: a sequence number of the room that is not above the message's. */
  delivered(received: Received, seq: number): void {
    if (!this.#isSigned) return;
    this.#integrity.add(linkOf(received, this.deps.trust), seq);
    this.#took(1, received.frame.id);
  }

  /** A page of the history was read. */
  page({ messages, seq, read, end }: ReadPage): void {
    const [first] = messages;
    if (!this.#isSigned || first === undefined) return;
    const links = messages.map((one) => linkOf(one, this.deps.trust));
    this.#integrity.page(links, seq, read, end);
    if (end !== null && seq < this.#low) {
      this.#low = seq;
      if (this.#current.since !== null) this.#set({ since: first.frame.id });
    }
    this.#took(messages.length, first.frame.id);
  }

  /** Live reading begins: what was sent before may not have been read. */
  begin(): void {
    this.#low = Number.POSITIVE_INFINITY;
    this.#integrity.begin();
  }

  /**
   * The history was read down to its start. `first`: the first readable message, and its sequence number. `isFirst`:
   * no frame before it was dropped.
   */
  start(first: Received | null, seq: number, isFirst: boolean): void {
    if (!this.#isSigned || first === null) return;
    const link = linkOf(first, this.deps.trust);
    this.#integrity.start(link, seq);
    this.#low = 0;
    this.#set({ since: seq <= 1 && isFirst ? null : link.id });
    this.#took(0, link.id);
  }

  /** A frame was dropped. */
  dropped(frame: Frame, { drop, signedBy }: Refused): void {
    if (this.#isSigned) this.#integrity.dropped(halfHash(encodeFrame(frame)), signedBy, drop);
  }

  #took(count: number, since: string | null): void {
    this.#count += count;
    if (this.#current.state === "unknown" && this.#current.lost === 0) this.#set({ state: "whole", since });
    const isNews = this.#integrity.suspicions !== this.#looked || this.#suspects.length > 0;
    if (isNews) this.#wakeIn(settleMs);
  }

  #set(change: Partial<RoomIntegrity>): void {
    this.#current = { ...this.#current, ...change };
    this.deps.onChange(this.#current);
  }

  #wakeIn(ms: number): void {
    const atMs = performance.now() + ms;
    if (atMs >= this.#timerMs || this.deps.signal.aborted) return;
    clearTimeout(this.#timer);
    this.#timerMs = atMs;
    this.#timer = setTimeout(() => {
      this.#timerMs = Number.POSITIVE_INFINITY;
      if (!this.deps.signal.aborted && !this.deps.trust.isForked) this.#look();
    }, ms);
    (this.#timer as { unref?: () => void }).unref?.();
  }

  #look(): void {
    this.#looked = this.#integrity.suspicions;
    const nowMs = performance.now();
    const before = this.#suspects;
    this.#suspects = this.#integrity.findings().map((finding) => {
      const known = before.find((one) => isSame(one.finding, finding));
      // What two messages show, no further one makes undone.
      if (known?.finding.inFlight === finding.inFlight || known?.isReported) return { ...known, finding };
      const isReported = finding.what === "fork" || finding.what === "order";
      // Other messages tell how much time has passed only if its sender does not try to send it any more.
      const dueCount = finding.inFlight === "no" ? this.#count + this.times.messages : Infinity;
      const due = { dueMs: nowMs + this.#graceMs(finding), dueCount };
      const { sinceMs, readUpTo } = known ?? { sinceMs: Date.now(), readUpTo: finding.seq };
      return { finding, sinceMs, ...due, isReported, readUpTo };
    });
    this.#judge();
    const open = this.#suspects.filter(({ isReported }) => !isReported);
    if (open.length === 0 || this.#isReading) return;
    if (this.#isKept) void this.#readAgain(open.filter((one) => this.#isDue(one)));
    const next = open.filter((one) => !this.#isDue(one)).map((one) => Math.max(one.dueMs, this.#claim(one).nextMs));
    const waitMs = Math.min(...next) - nowMs;
    if (Number.isFinite(waitMs)) this.#wakeIn(Math.max(waitMs, settleMs));
  }

  #graceMs({ inFlight, before }: IntegrityFinding): number {
    const { graceMs } = this.times;
    if (inFlight !== "yes" || before === null) return inFlight === "no" ? graceMs : 2 * graceMs;
    const leftMs = ulidTimeMs(before) + inFlightMs - Date.now();
    return Math.min(Math.max(leftMs, 2 * graceMs), inFlightMs);
  }

  #claim({ finding }: Suspect) {
    const { nextMs = 0, empty = 0 } = this.#claimants.get(claimantOf(finding)) ?? {};
    return { nextMs: empty < emptyMax ? nextMs : Number.POSITIVE_INFINITY, empty };
  }

  #isOld({ dueMs, dueCount }: Suspect): boolean {
    return performance.now() >= dueMs || this.#count >= dueCount;
  }

  #isDue(one: Suspect): boolean {
    return this.#isOld(one) && performance.now() >= this.#claim(one).nextMs;
  }

  /** Reads the interval of these suspects again. What is still missing then is reported. */
  async #readAgain(due: readonly Suspect[]): Promise<void> {
    if (due.length === 0) return;
    this.#isReading = true;
    const claimants = new Map(due.map((one) => [claimantOf(one.finding), this.#claim(one).empty]));
    const nextMs = performance.now() + this.times.everyMs;
    for (const [claimant, empty] of claimants) this.#claimants.set(claimant, { nextMs, empty });
    try {
      if (due.some(({ finding }) => finding.what === "statement")) await this.deps.trust.refresh(this.deps.signal);
      const { control, trust, signal } = this.deps;
      this.#integrity.dropsOldest = (await control.room(trust.roomId, signal)).when_full === "drop_oldest";
      const upTo = await this.#read(due);
      const found = this.#integrity.findings();
      const isFound = (one: Suspect) => found.some((finding) => isSame(one.finding, finding));
      for (const one of this.#suspects) {
        if (!due.some(({ finding }) => isSame(finding, one.finding))) continue;
        if (upTo === null) one.isReported = true;
        else one.readUpTo = upTo;
      }
      for (const [claimant, empty] of claimants) {
        const claims = due.filter(({ finding }) => claimantOf(finding) === claimant);
        if (!claims.some(isFound)) this.#claimants.set(claimant, { nextMs, empty: empty + 1 });
      }
    } catch (error) {
      if (!this.deps.signal.aborted) this.deps.onTrouble(error);
    } finally {
      this.#isReading = false;
      this.#wakeIn(0);
    }
  }

  /** Returns the sequence number up to which was read, or null if that is the end. Errors: those of GET history. */
  async #read(due: readonly Suspect[]): Promise<number | null> {
    const { control, trust, receiver, signal } = this.deps;
    const senders = new Set(due.map(({ finding }) => finding.from));
    let pages = 0;
    for await (const { frames, upTo } of pagesAfter(
      control,
      trust.roomId,
      Math.min(...due.map(({ readUpTo }) => readUpTo)),
      signal,
    )) {
      for (const frame of frames) {
        const hash = isDropped(frame) ? null : halfHash(encodeFrame(frame as Frame));
        const isNews = hash !== null && !this.#integrity.has(hash);
        // A frame that is known may have been left out by the page that was read before.
        const isMeant =
          !isDropped(frame) && senders.has(frame.from) && hash !== null && !this.#integrity.hasDropped(hash);
        const received = isNews || isMeant ? await receiver().open(frame, "history") : null;
        if (received !== null) this.#integrity.add(linkOf(received, trust), upTo, new HistoryRead());
      }
      if (++pages >= pagesMax) return upTo;
    }
    return null;
  }

  #judge(): void {
    const isLost = ({ finding }: Suspect) => finding.what === "gap" && !this.#isKept;
    const reported = this.#suspects.filter(({ isReported }) => isReported);
    const open = this.#suspects.filter((one) => !one.isReported && !(isLost(one) && this.#isOld(one)));
    const lost = this.#suspects
      .filter((one) => isLost(one) && this.#isOld(one))
      .reduce((sum, { finding: { first, last } }) => sum + last - first + 1, 0);
    const isFork = reported.some(({ finding: { what } }) => what === "fork" || what === "statement");
    const calm = open.length > 0 ? "waiting" : lost > 0 ? "unknown" : "whole";
    const state = isFork ? "fork" : reported.length > 0 ? "gap" : calm;
    const findings = reported.map(({ finding, sinceMs }) => ({ ...finding, sinceMs }));
    const { explained } = this.#integrity;
    const next: RoomIntegrity = { ...this.#current, state, findings, explained, lost };
    if (JSON.stringify(next) !== JSON.stringify(this.#current)) this.#set(next);
  }
}
