import { asUnibusError, isUnibusError, UnibusError } from "../wire/errors.ts";
import { type ApiReply, isCode, type JetStream, jsCode } from "./jetstream.ts";

/** How long a stream may take to open, in milliseconds; the nodes have to find each other first. */
export const openTimeoutMs = 120_000;
/** The timeout of one attempt, in milliseconds: a request made before the cluster has a leader is never answered. */
const attemptTimeoutMs = 1_500;
/** The timeout of a look at the stream, in milliseconds. A stream without a leader is looked at again soon. */
const lookTimeoutMs = 500;
const retryMs = 100;
/** After this time a node that is not the leader also creates a missing stream, in milliseconds. */
const ownTurnAfterMs = 5_000;

/** The configuration of a stream, as nats-server expects it. */
export type StreamConfig = Readonly<Record<string, unknown>> & {
  readonly name: string;
  readonly num_replicas: number;
};

/** JetStream's reply with a stream. */
export interface StreamReply extends ApiReply {
  readonly config: StreamConfig;
}

/** The options for opening a stream. */
export interface OpenStream {
  /** The stream as it is created. An existing one keeps its number of replicas; all else is repaired. */
  readonly config: StreamConfig;
  /** What the stream holds, for the error: "the key-value store". */
  readonly holds: string;
  /** Whether this node is the one that creates shared streams. Errors: unavailable. */
  readonly leads: () => Promise<boolean>;
  /** Called with the cause each time an attempt fails and is retried. */
  readonly onRetry?: (cause: unknown) => void;
  readonly signal: AbortSignal;
}

async function openOnce(js: JetStream, options: OpenStream, mayMake: () => Promise<boolean>): Promise<void> {
  const { config } = options;
  const { errors } = js;
  const call = (verb: string, body: unknown, timeoutMs = attemptTimeoutMs) =>
    js.call<StreamReply>(`STREAM.${verb}.${config.name}`, body, timeoutMs);
  const info = errors.expectReply(await call("INFO", {}, lookTimeoutMs), jsCode.streamNotFound);
  if (info.error !== undefined) {
    if (!(await mayMake())) throw errors.unanswered("another node creates the stream");
    const made = await call("CREATE", config);
    if (isCode(made, jsCode.replicasNotSupported)) {
      const hint = "set it to 1, or run nats-server in a cluster";
      throw new UnibusError("invalid", `store-kv.replicas: ${config.num_replicas} replicas need a cluster (${hint})`);
    }
    // If another node created it in the meantime, this fails, and the next attempt finds it.
    errors.expectReply(made);
    return;
  }
  const wanted = { ...config, num_replicas: info.config.num_replicas };
  const isRight = Object.entries(wanted).every(
    ([key, value]) => JSON.stringify(info.config[key]) === JSON.stringify(value),
  );
  if (!isRight) errors.expectReply(await call("UPDATE", { ...info.config, ...wanted }));
}

/**
 * Opens a stream that all nodes share, or creates it; retries while there is no answer.
 * Errors: invalid for more replicas than the servers support; unavailable if it does not open in time.
 */
export async function openStream(js: JetStream, options: OpenStream): Promise<void> {
  const { holds, leads, onRetry, signal } = options;
  const begun = performance.now();
  // If several nodes create a stream at once, it may have no leader for some seconds.
  const mayMake = async () => performance.now() - begun > ownTurnAfterMs || (await leads());
  for (;;) {
    try {
      return await openOnce(js, options, mayMake);
    } catch (error) {
      if (!isUnibusError(error) || error.code !== "unavailable" || signal.aborted) throw asUnibusError(error);
      if (performance.now() - begun > openTimeoutMs) {
        const hint = "start the other nodes of the cluster, or check nats-server's log";
        throw new UnibusError("unavailable", `cannot open ${holds} (${hint})`, { cause: error });
      }
      onRetry?.(error);
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  }
}
