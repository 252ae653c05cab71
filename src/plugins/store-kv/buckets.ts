import type { Replicas } from "../../contracts/replicas.ts";
import { asUnibusError, isUnibusError, UnibusError } from "../../wire/errors.ts";
import { bucketStream, buckets } from "../../wire/names.ts";
import { type CallReply, type Calls, expectReply, isCode, kvCode, unanswered } from "./calls.ts";
import { sharedNonceLifeMs } from "./nonces.ts";

/** How long opening the buckets may take, in milliseconds; the nodes have to find each other first. Source: spec 10. */
export const openTimeoutMs = 120_000;
/** The timeout of one attempt, in milliseconds: a request made before the cluster has a leader is never answered. */
const attemptTimeoutMs = 1_500;
/** The timeout of a look at one bucket, in milliseconds. A bucket without a leader is looked at again soon. */
const lookTimeoutMs = 500;
const retryMs = 100;
/** After this time a node that is not the leader also creates missing buckets, in milliseconds. */
const ownTurnAfterMs = 5_000;
/** The maximum age of a cached replica count, in milliseconds. */
const countAgeMsMax = 10_000;

interface StreamReply extends CallReply {
  readonly config: Readonly<Record<string, unknown>> & { readonly num_replicas: number };
}

/** The configuration of the stream behind a bucket. Only its leader answers reads. */
function bucketConfig(name: string, replicas: number): StreamReply["config"] {
  const maxAgeMs = name === buckets.nonces ? sharedNonceLifeMs : 0;
  return {
    name: bucketStream(name),
    subjects: [`$KV.${name}.>`],
    retention: "limits",
    storage: "file",
    discard: "new",
    num_replicas: replicas,
    max_msgs_per_subject: 1,
    max_msgs: -1,
    max_bytes: -1,
    max_age: maxAgeMs * 1_000_000,
    max_msg_size: -1,
    max_consumers: -1,
    // A lagging replica would return data that was revoked since.
    allow_direct: false,
    allow_rollup_hdrs: true,
    deny_delete: false,
    deny_purge: false,
  };
}

/** Opens one bucket, or creates it. An existing one keeps its replica count. */
async function open(calls: Calls, name: string, replicas: number, mayMake: () => Promise<boolean>): Promise<void> {
  const wanted = bucketConfig(name, replicas);
  const call = (verb: string, body: unknown) =>
    calls.call<StreamReply>(
      `STREAM.${verb}.${bucketStream(name)}`,
      body,
      verb === "INFO" ? lookTimeoutMs : attemptTimeoutMs,
    );
  const info = expectReply(await call("INFO", {}), kvCode.streamNotFound);
  if (info.error !== undefined) {
    if (!(await mayMake())) throw unanswered("another node creates the bucket");
    const made = await call("CREATE", wanted);
    if (isCode(made, kvCode.replicasNotSupported)) {
      const hint = "set it to 1, or run nats-server in a cluster";
      throw new UnibusError("invalid", `store-kv.replicas: ${replicas} replicas need a cluster (${hint})`);
    }
    // If another node created it in the meantime, this fails, and the next attempt finds it.
    expectReply(made);
    return;
  }
  const config = { ...wanted, num_replicas: info.config.num_replicas };
  const isRight = Object.entries(config).every(
    ([key, value]) => JSON.stringify(info.config[key]) === JSON.stringify(value),
  );
  if (!isRight) expectReply(await call("UPDATE", config));
}

/** The options for opening the buckets. */
export interface OpenBuckets {
  /** The replica count of a bucket that is created. */
  readonly replicas: number;
  /** Whether this node is the one that creates buckets. Default: it is. Errors: unavailable. */
  readonly leads?: () => Promise<boolean>;
  /** Called once when the first attempt fails. */
  readonly onWait: (cause: unknown) => void;
  readonly signal: AbortSignal;
}

/** Opens every bucket. Errors: invalid for more replicas than the cluster supports; unavailable after the timeout. */
export async function openBuckets(calls: Calls, options: OpenBuckets): Promise<void> {
  const { replicas, onWait, signal, leads = async () => true } = options;
  const begun = performance.now();
  const end = begun + openTimeoutMs;
  // If several nodes create a bucket at once, it may have no leader for some seconds.
  const mayMake = async () => performance.now() - begun > ownTurnAfterMs || (await leads());
  let isTold = false;
  const opened = async (name: string): Promise<void> => {
    for (;;) {
      try {
        return await open(calls, name, replicas, mayMake);
      } catch (error) {
        if (!isUnibusError(error) || error.code !== "unavailable" || signal.aborted) throw asUnibusError(error);
        if (performance.now() > end) {
          const hint = "start the other nodes of the cluster, or check nats-server's log";
          throw new UnibusError("unavailable", `cannot open the key-value store (${hint})`, { cause: error });
        }
        if (!isTold) onWait(error);
        isTold = true;
        await new Promise((resolve) => setTimeout(resolve, retryMs));
      }
    }
  };
  await Promise.all(Object.values(buckets).map(opened));
}

/** The replica count of the rooms' bucket. */
export function createReplicas(calls: Calls, now: () => number): Replicas {
  let known = { count: 0, at: Number.NEGATIVE_INFINITY };
  return {
    async count() {
      if (Math.abs(now() - known.at) < countAgeMsMax) return known.count;
      const info = expectReply(await calls.read<StreamReply>(`STREAM.INFO.${bucketStream(buckets.rooms)}`, {}));
      known = { count: info.config.num_replicas, at: now() };
      return known.count;
    },
  };
}
