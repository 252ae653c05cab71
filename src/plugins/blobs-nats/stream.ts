import { isUnibusError, UnibusError } from "../../wire/errors.ts";
import { blobBucket, objectStream } from "../../wire/names.ts";
import { blobCode, type Calls, expectReply, isCode, type Reply, unanswered } from "./calls.ts";

/** How long the stream may take to open, in milliseconds, since nodes must find each other first. Source: spec 10. */
export const streamOpenTimeoutMs = 120_000;
/** Timeout for one attempt, in milliseconds. A request sent before the cluster has a leader is never answered. */
const attemptTimeoutMs = 1_500;
/** Timeout for reading the stream's info, in milliseconds. It is retried soon while the stream has no leader. */
const lookTimeoutMs = 500;
const retryMs = 100;
/** After how long a node that is not the leader also creates the stream, in milliseconds. */
const ownTurnAfterMs = 5_000;

/** The stream of all blobs. */
export const blobStream = objectStream(blobBucket);

const root = `$O.${blobBucket}`;

/**
 * The subjects of the stream.
 * `blob`: the entries, one message for each hash. `charge`: the bytes charged to an owner; the last message counts.
 * `open`: the state of an upload, from before its first chunk until it ends. `chunk`: the bytes of an upload, in order.
 */
export const subjects = {
  blob: (hash: string) => `${root}.M.${hash}`,
  charge: (owner: string) => `${root}.Q.${owner}`,
  open: (upload: string) => `${root}.U.${upload}`,
  chunk: (upload: string) => `${root}.C.${upload}`,
} as const;

/** Header: store a message only if the last one of its subject has this sequence (0: the subject is empty). */
export const expectedLast = "Nats-Expected-Last-Subject-Sequence";
/** Header: makes `expectedLast` refer to another subject. */
export const expectedLastOf = "Nats-Expected-Last-Subject-Sequence-Subject";

type Info = Reply & { readonly config: Readonly<Record<string, unknown>> };

function configOf(replicas: number): Info["config"] {
  return {
    name: blobStream,
    subjects: [`${root}.>`],
    retention: "limits",
    storage: "file",
    discard: "new",
    num_replicas: replicas,
    max_msgs_per_subject: -1,
    max_msgs: -1,
    // Not set here: nats-server would reserve it, multiplied by the replicas.
    max_bytes: -1,
    max_age: 0,
    // Chunks never change, so any replica may serve them. Everything mutable is read from the leader.
    allow_direct: true,
    allow_atomic: true,
    allow_rollup_hdrs: false,
    deny_delete: false,
    deny_purge: false,
  };
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** Opens the stream or creates it. An existing stream keeps its number of replicas. */
async function openOnce(calls: Calls, replicas: number, mayMake: () => Promise<boolean>): Promise<void> {
  const call = (verb: string, body: unknown, timeoutMs = attemptTimeoutMs) =>
    calls.api<Info>(`STREAM.${verb}.${blobStream}`, body, timeoutMs);
  const info = expectReply(await call("INFO", {}, lookTimeoutMs), blobCode.streamNotFound);
  if (info.error !== undefined) {
    if (!(await mayMake())) throw unanswered("another node creates the stream");
    expectReply(await call("CREATE", configOf(replicas)));
    return;
  }
  const wanted = { ...configOf(replicas), num_replicas: info.config.num_replicas };
  const isRight = Object.entries(wanted).every(([key, value]) => same(info.config[key], value));
  if (!isRight) expectReply(await call("UPDATE", { ...info.config, ...wanted }));
}

/** Options for opening the stream. */
export interface OpenStream {
  /** Number of replicas if the stream is created. */
  readonly replicas: number;
  /** Whether this node is the one that creates the stream. Errors: unavailable. */
  leads(): Promise<boolean>;
  readonly signal: AbortSignal;
}

/** Opens the stream, retrying while there is no answer. Errors: unavailable if it does not open in time. */
export async function openStream(calls: Calls, { replicas, leads, signal }: OpenStream): Promise<void> {
  const begun = performance.now();
  // A stream that several nodes create at once may have no leader for some seconds.
  const mayMake = async () => performance.now() - begun > ownTurnAfterMs || (await leads());
  for (;;) {
    try {
      return await openOnce(calls, replicas, mayMake);
    } catch (error) {
      if (!isUnibusError(error) || signal.aborted) throw error;
      if (performance.now() - begun > streamOpenTimeoutMs) {
        const hint = "start the other nodes of the cluster, or check nats-server's log";
        throw new UnibusError("unavailable", `cannot open the blob store (${hint})`, { cause: error });
      }
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  }
}

type Page = Reply & {
  readonly total?: number;
  readonly state: { readonly subjects?: Readonly<Record<string, number>> };
};

/** Maximum number of pages of a subject list. nats-server returns 100,000 subjects in each. */
const pagesMax = 1_000;

/**
 * Yields the last token of each subject below one of `subjects`, with its number of messages. Too slow for the path of
 * a request. Errors: unavailable, also if there are too many subjects to list.
 */
export async function* listSubjects(calls: Calls, kind: keyof typeof subjects): AsyncGenerator<[string, number]> {
  const prefix = subjects[kind]("");
  for (let pages = 0, offset = 0; ; pages++) {
    const query = { subjects_filter: `${prefix}>`, offset };
    const { state, total = 0 } = expectReply(await calls.api<Page>(`STREAM.INFO.${blobStream}`, query));
    const found = Object.entries(state.subjects ?? {});
    for (const [subject, count] of found) yield [subject.slice(prefix.length), count];
    offset += found.length;
    if (found.length === 0 || offset >= total) return;
    if (pages === pagesMax) throw new UnibusError("unavailable", "too many blobs to list (delete some)");
  }
}

/** Removes the messages of a subject except the last `keep`. */
export async function purge(calls: Calls, subject: string, keep = 0): Promise<void> {
  const query = keep === 0 ? { filter: subject } : { filter: subject, keep };
  expectReply(await calls.api(`STREAM.PURGE.${blobStream}`, query));
}

/** Whether a compare-and-set failed, or may have failed. */
export function isLost(reply: Reply): boolean {
  return isCode(reply, blobCode.wrongLastSequence, blobCode.wrongLastSequenceNow);
}
