import type { NatsConnection } from "nats";
import { ask, type Quorum, quorumOf } from "./quorum.ts";

/** Something that is not as it must be, as nats-server names it. */
interface Fault {
  readonly type?: string;
  readonly account?: string;
  readonly stream?: string;
}

/** The streams of which a server's own copy does not have yet what the others have. */
async function streamsBehind(system: NatsConnection): Promise<string[]> {
  const { errors = [] } = await ask<{ errors?: readonly Fault[] }>(system, "HEALTHZ", { details: true });
  return errors.filter(({ type }) => type === "STREAM").map(({ account, stream }) => `${account} ${stream}`);
}

/**
 * How a node stands in its cluster. After its nats-server has started it is not ready before it has caught up with
 * every stream of which it keeps a copy: until then it is no part of a majority, and another node that stops takes
 * that majority away. Looked at until it holds, and not again: whatever a copy misses later, it has a vote.
 */
export class Standing {
  #caughtUp: string | undefined;

  /** Whether the node can stand in for another. Errors: as of `quorumOf`. */
  async look(system: NatsConnection): Promise<Quorum> {
    const server = system.info?.server_id;
    const quorum = await quorumOf(system);
    if (!quorum.ok || this.#caughtUp === server) return quorum;
    const behind = await streamsBehind(system);
    if (behind.length > 0) {
      return { ok: false, detail: `${quorum.detail}; catching up with ${behind.length} streams: ${behind[0]}` };
    }
    this.#caughtUp = server;
    return quorum;
  }
}
