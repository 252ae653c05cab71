/**
 * Reads a room's whole history and checks the chains in it. For the command line: the bundle for browsers has no place
 * for it. Source: docs/protocol/history.md.
 */
import { halfHash } from "../../wire/chain-entry.ts";
import { encodeFrame, isDropped } from "../../wire/frame.ts";
import { ulidTimeMs } from "../../wire/ulid.ts";
import type { ControlPlane } from "../transport/control.ts";
import { pause } from "../transport/wait.ts";
import type { RoomTrust } from "../trust/room-trust.ts";
import { pagesAfter } from "./history-pages.ts";
import { HistoryRead, inFlightMs } from "./history-read.ts";
import type { IntegrityFinding } from "./integrity.ts";
import type { Received, Receiver } from "./receiver.ts";
import { integrityOf, linkOf } from "./room-integrity.ts";

/** How long messages in flight may take, before the history is read again, in milliseconds. */
const graceMs = 5_000;

/** What a history shows. */
export interface HistoryIntegrity {
  /**
   * `whole`: nothing is missing that a message of the history names. `gap`, `fork`: see `findings`. `unsigned`: any
   * member can make or hide a gap, because the room does not sign messages. `unknown`: the room keeps no messages.
   */
  readonly state: "whole" | "gap" | "fork" | "unsigned" | "unknown";
  /** Where the history begins for this client, if that is not the room's first message: its oldest readable message. */
  readonly since: string | null;
  readonly findings: readonly IntegrityFinding[];
  /** How many messages were read, and how many of them have a place in a chain. */
  readonly messages: number;
  readonly linked: number;
}

/** The parts of a room that are needed. */
interface CheckDeps {
  readonly trust: RoomTrust;
  readonly control: ControlPlane;
  readonly receiver: Receiver;
}

interface Pass {
  readonly findings: IntegrityFinding[];
  readonly since: string | null;
  readonly messages: number;
  readonly linked: number;
}

/** Reads everything once. */
async function readAll({ trust, control, receiver }: CheckDeps, signal: AbortSignal | undefined): Promise<Pass> {
  const { roomId } = trust;
  const { sign_msgs: signs } = trust.room.state.policy;
  const integrity = integrityOf(trust);
  let [messages, linked, firstSeq] = [0, 0, 0];
  let read: HistoryRead | null = null;
  let start: Received | null = null;
  let isFirst = true;
  let cursor = 0;
  for await (const { frames, first, upTo } of pagesAfter(control, roomId, 0, signal)) {
    read ??= new HistoryRead(first === 1);
    firstSeq ||= first;
    const opened = await Promise.all(
      frames.map((frame) =>
        receiver.open(frame, "history", ({ drop, signedBy, claims }) => {
          const by = signs ? signedBy : claims;
          if (!isDropped(frame)) integrity.dropped(halfHash(encodeFrame(frame)), by, drop);
        }),
      ),
    );
    const valid = opened.filter((one) => one !== null);
    if (start === null && opened[0] === null) isFirst = false;
    start ??= valid[0] ?? null;
    messages += valid.length;
    linked += valid.filter(({ content }) => content.header.chain !== undefined).length;
    // Without a signature, any member may have written it.
    const links = valid.filter(({ verified }) => !signs || verified).map((one) => linkOf(one, trust));
    integrity.page(links, cursor, read);
    cursor = upTo;
  }
  if (start !== null) integrity.start(linkOf(start, trust), firstSeq);
  const since = firstSeq <= 1 && isFirst ? null : (start?.frame.id ?? null);
  return { findings: integrity.findings(), since, messages, linked };
}

const isSame = (one: IntegrityFinding, other: IntegrityFinding): boolean =>
  one.what === other.what && one.chain === other.chain && one.first <= other.last && other.first <= one.last;

/**
 * Checks a room's history. What is found is read once more after 5 s, because messages in flight are stored out of
 * order. Errors: those of GET history.
 */
export async function checkHistory(deps: CheckDeps, signal: AbortSignal | undefined): Promise<HistoryIntegrity> {
  const { persist, sign_msgs: signs } = deps.trust.room.state.policy;
  if (!persist) return { state: "unknown", since: null, findings: [], messages: 0, linked: 0 };
  let pass = await readAll(deps, signal);
  if (pass.findings.length > 0) {
    const { findings: before } = pass;
    await pause(graceMs, signal);
    signal?.throwIfAborted();
    pass = await readAll(deps, signal);
    const isOpen = ({ inFlight, before: next }: IntegrityFinding) =>
      inFlight === "yes" && next !== null && ulidTimeMs(next) + inFlightMs > Date.now();
    const findings = pass.findings.filter((one) => !isOpen(one) && before.some((other) => isSame(one, other)));
    pass = { ...pass, findings };
  }
  const { findings } = pass;
  const broken = findings.some(({ what }) => what === "fork" || what === "statement") ? "fork" : "gap";
  return { ...pass, state: signs ? (findings.length === 0 ? "whole" : broken) : "unsigned" };
}
