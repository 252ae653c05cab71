import { type CallReply, type Calls, expectReply, unanswered } from "./calls.ts";

/** How long a leader may take to say where its stream stands, in milliseconds: whoever waits can read from it. */
const pulseTimeoutMs = 500;

/** Where a stream stands, as the leader says that answered. */
export interface Pulse {
  /** Which stream it is, and who has led it since when: as long as it is the same, nobody else can have answered. */
  readonly reign: string;
  /** The sequence of the last message that was written, also where it is no longer there; 0 for none. */
  readonly seq: number;
  /** When that was written, in nanoseconds since the epoch. */
  readonly at: string;
  /** How many messages there are. */
  readonly messages: number;
}

interface InfoReply extends CallReply {
  readonly created: string;
  readonly config: { readonly num_replicas: number };
  readonly state: { readonly messages: number; readonly last_seq: number; readonly last_ts: string };
  readonly cluster?: { readonly leader?: string; readonly leader_since?: string };
}

/** Nanoseconds since the epoch, of a time as nats-server writes it. */
function nanosecondsOf(time: string): string {
  const [, seconds, fraction = ""] = /^([^.Z]*)(?:\.(\d+))?Z$/.exec(time) ?? [];
  return `${Date.parse(`${seconds}Z`) / 1_000}${fraction.padEnd(9, "0")}`;
}

/**
 * Asks the leader where a stream stands. A copy that knows of no leader answers, too: only a leader knows since when it
 * leads, and the stream of a single copy has nobody else.
 * Errors: unavailable, also where it is not certain that a leader answered.
 */
export async function readPulse(calls: Calls, stream: string): Promise<Pulse> {
  const info = expectReply(await calls.call<InfoReply>(`STREAM.INFO.${stream}`, {}, pulseTimeoutMs));
  const { created, config, state, cluster } = info;
  if (config.num_replicas > 1 && cluster?.leader_since === undefined) throw unanswered("an answer of no leader");
  return {
    reign: `${created} ${cluster?.leader} ${cluster?.leader_since}`,
    seq: state.last_seq,
    at: nanosecondsOf(state.last_ts),
    messages: state.messages,
  };
}
