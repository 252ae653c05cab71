import { jetStreamErrors, jsCode } from "../../nats/jetstream.ts";
import type { StreamInfo } from "./stream-info.ts";

/** The errors of the room streams for replies of JetStream. */
export const streamErrors = jetStreamErrors("the message store is unavailable (try again)");

/** `expectReply` of the room streams: see `JetStreamErrors`. */
export const { expectReply } = streamErrors;

/** Why a stream cannot be used yet although JetStream describes it. */
const noLeader = { code: "NO_LEADER" } as const;

/** Returns a stream that has a leader. Errors: unavailable. */
export function refuseLeaderless(info: StreamInfo): StreamInfo {
  if (info.cluster?.leader) return info;
  throw streamErrors.unanswered(noLeader);
}

const passingCodes: readonly unknown[] = [
  jsCode.noPeers,
  jsCode.clusterNotAvailable,
  jsCode.notLeader,
  jsCode.streamOffline,
];

/**
 * Whether a call failed as it does while the leader of a stream, or of all of JetStream, is being elected: no answer
 * in time, or one that says so.
 */
export function isElection(error: unknown): boolean {
  const cause = (error as { cause?: { code?: unknown; err_code?: unknown } } | null)?.cause;
  return (
    cause === noLeader || cause?.code === "TIMEOUT" || cause?.code === "503" || passingCodes.includes(cause?.err_code)
  );
}
