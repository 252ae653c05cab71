import type { NatsConnection } from "nats";
import { ask, type Quorum, quorumOf } from "./quorum.ts";

/** An entry in nats-server's list of health errors. */
interface Fault {
  readonly type?: string;
  readonly account?: string;
  readonly stream?: string;
}

/** Lists the streams whose local replica is behind. */
async function streamsBehind(system: NatsConnection): Promise<string[]> {
  const { errors = [] } = await ask<{ errors?: readonly Fault[] }>(system, "HEALTHZ", { details: true });
  return errors.filter(({ type }) => type === "STREAM").map(({ account, stream }) => `${account} ${stream}`);
}

/**
 * The readiness of a node. After its nats-server has started, a node is ready only once it has caught up with every
 * stream it has a replica of: until then it is not part of a majority, and stopping another node would lose that
 * majority. This is checked only until it holds: a replica that falls behind later still has a vote.
 */
export class Readiness {
  #caughtUp: string | undefined;

  /** Whether the node can take over for another one. Errors: those of `quorumOf`. */
  async look(system: NatsConnection): Promise<Quorum> {
    const server = system.info?.server_id;
    const quorum = await quorumOf(system);
    if (!quorum.ok || this.#caughtUp === server) return quorum;
    const behind = await streamsBehind(system);
    if (behind.length > 0) {
      return { ok: false, detail: `${quorum.detail}; catching up on ${behind.length} streams: ${behind[0]}` };
    }
    this.#caughtUp = server;
    return quorum;
  }
}
