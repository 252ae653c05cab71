import type { ApiReply, JetStream } from "../../../nats/jetstream.ts";
import { expectReply, unanswered } from "../errors.ts";

/**
 * The timeout for the leader's position, in milliseconds. It is short because the caller can read from the leader
 * instead.
 */
const pulseTimeoutMs = 500;

/** A stream's position, as its leader reported it. */
export interface StreamPosition {
  /**
   * The stream's creation time, its leader, and the start of the leader's term. While it is unchanged, no other leader
   * can have answered.
   */
  readonly reign: string;
  /** The sequence of the last written message, even if that message was deleted; 0 if there is none. */
  readonly seq: number;
  /** When that message was written, in nanoseconds since the epoch. */
  readonly at: string;
  /** The number of messages in the stream. */
  readonly messages: number;
}

interface InfoReply extends ApiReply {
  readonly created: string;
  readonly config: { readonly num_replicas: number };
  readonly state: { readonly messages: number; readonly last_seq: number; readonly last_ts: string };
  readonly cluster?: { readonly leader?: string; readonly leader_since?: string };
}

/** Converts a time of nats-server to nanoseconds since the epoch. */
function nanosecondsOf(time: string): string {
  const [, seconds, fraction = ""] = /^([^.Z]*)(?:\.(\d+))?Z$/.exec(time) ?? [];
  return `${Date.parse(`${seconds}Z`) / 1_000}${fraction.padEnd(9, "0")}`;
}

/**
 * Asks the leader for the position of a stream. A replica that knows no leader also answers, but only a leader reports
 * the start of its term. The only replica of a stream is always its leader.
 * Errors: unavailable, also if the answer may not come from a leader.
 */
export async function readStreamPosition(js: JetStream, stream: string): Promise<StreamPosition> {
  const info = expectReply(await js.call<InfoReply>(`STREAM.INFO.${stream}`, {}, pulseTimeoutMs));
  const { created, config, state, cluster } = info;
  if (config.num_replicas > 1 && cluster?.leader_since === undefined)
    throw unanswered("the reply did not come from a leader");
  return {
    reign: `${created} ${cluster?.leader} ${cluster?.leader_since}`,
    seq: state.last_seq,
    at: nanosecondsOf(state.last_ts),
    messages: state.messages,
  };
}
