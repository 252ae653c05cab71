import type { Replicas } from "../../contracts/replicas.ts";
import type { JetStream } from "../../nats/jetstream.ts";
import { openStream, type StreamConfig, type StreamReply } from "../../nats/open-stream.ts";
import { bucketStream, buckets } from "../../wire/names.ts";
import { expectReply } from "./errors.ts";
import { sharedNonceLifeMs } from "./nonces.ts";

/** The maximum age of a cached replica count, in milliseconds. */
const countAgeMsMax = 10_000;

/** The configuration of the stream behind a bucket. Only its leader answers reads. */
function bucketConfig(name: string, replicas: number): StreamConfig {
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
export async function openBuckets(js: JetStream, options: OpenBuckets): Promise<void> {
  const { replicas, onWait, signal, leads = async () => true } = options;
  let isReported = false;
  const onRetry = (cause: unknown): void => {
    if (!isReported) onWait(cause);
    isReported = true;
  };
  const shared = { holds: "the key-value store", leads, onRetry, signal };
  const open = (name: string) => openStream(js, { ...shared, config: bucketConfig(name, replicas) });
  await Promise.all(Object.values(buckets).map(open));
}

/** The replica count of the rooms' bucket. */
export function createReplicas(js: JetStream, now: () => number): Replicas {
  let known = { count: 0, at: Number.NEGATIVE_INFINITY };
  return {
    async count() {
      if (Math.abs(now() - known.at) < countAgeMsMax) return known.count;
      const info = expectReply(await js.read<StreamReply>(`STREAM.INFO.${bucketStream(buckets.rooms)}`, {}));
      known = { count: info.config.num_replicas, at: now() };
      return known.count;
    },
  };
}
