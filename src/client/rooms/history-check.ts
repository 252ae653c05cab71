/**
 * Reads a room's whole history and checks the chains in it. For the command line: the bundle for browsers has no place
 * for it. Source: docs/protocol/history.md.
 */
import { halfHash } from "../../wire/chain-entry.ts";
import { toHex } from "../../wire/encoding.ts";
import { encodeFrame, isDropped } from "../../wire/frame.ts";
import type { ControlPlane } from "../transport/control.ts";
import { pause } from "../transport/wait.ts";
import type { RoomTrust } from "../trust/room-trust.ts";
import { memberNow } from "../trust/verified-room.ts";
import { pagesAfter } from "./history-pages.ts";
import { Integrity, type IntegrityFinding, type LinkedMessage } from "./integrity.ts";
import type { Received, Receiver } from "./receiver.ts";

/** How long messages in flight may take, before the history is read again, in milliseconds. */
const graceMs = 5_000;
const sha256Bytes = 32;
const halfBytes = 16;

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

function linkOf({ frame, content }: Received, isOwner: (endpoint: string) => boolean): LinkedMessage {
  const { kind, header, body } = content;
  const erased = kind === "delete" && body.length === sha256Bytes ? toHex(body.subarray(0, halfBytes)) : null;
  const hash = halfHash(encodeFrame(frame));
  return { id: frame.id, from: frame.from, hash, header, erased, byOwner: isOwner(frame.from) };
}

/** Reads everything once. */
async function readAll({ trust, control, receiver }: CheckDeps, signal: AbortSignal | undefined): Promise<Pass> {
  const { roomId } = trust;
  const { sign_msgs: signs } = trust.room.state.policy;
  const { first_seq: firstSeq } = await control.history(roomId, { limit: 1, after: 0 }, signal);
  const isWhole = firstSeq <= 1;
  const integrity = new Integrity({ isWhole, isOrdered: true });
  const isOwner = (endpoint: string) => memberNow(trust.room, endpoint)?.role === "owner";
  let [messages, linked, dropped] = [0, 0, 0];
  let since: string | null = null;
  for await (const { frames } of pagesAfter(control, roomId, 0, signal)) {
    const opened = await Promise.all(
      frames.map(async (frame) => {
        let by: string | undefined;
        const received = await receiver.open(frame, "history", ({ signedBy, claims }) => {
          by = signs ? signedBy : claims;
        });
        return { frame, received, by };
      }),
    );
    for (const { frame, received, by } of opened) {
      if (received === null) {
        if (messages === 0) dropped += 1;
        if (!isDropped(frame)) integrity.dropped(halfHash(encodeFrame(frame)), by);
        continue;
      }
      since ??= received.frame.id;
      messages += 1;
      if (received.content.header.chain !== undefined) linked += 1;
      // Without a signature, any member may have written it.
      if (!signs || received.verified) integrity.add(linkOf(received, isOwner));
    }
  }
  return { findings: integrity.findings(), since: isWhole && dropped === 0 ? null : since, messages, linked };
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
    const findings = pass.findings.filter((one) => before.some((other) => isSame(one, other)));
    pass = { ...pass, findings };
  }
  const { findings } = pass;
  const broken = findings.some(({ what }) => what === "fork") ? "fork" : "gap";
  return { ...pass, state: signs ? (findings.length === 0 ? "whole" : broken) : "unsigned" };
}
