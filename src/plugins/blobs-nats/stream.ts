import { type ApiReply, isCode, type JetStream, jsCode } from "../../nats/jetstream.ts";
import { openStream, type StreamConfig } from "../../nats/open-stream.ts";
import { pages } from "../../nats/pages.ts";
import { blobBucket, objectStream } from "../../wire/names.ts";
import { expectReply } from "./errors.ts";

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

function configOf(replicas: number): StreamConfig {
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

/** The options for opening the stream. */
export interface OpenBlobStream {
  /** The number of replicas if the stream is created. */
  readonly replicas: number;
  /** Whether this node is the one that creates the stream. Errors: unavailable. */
  readonly leads: () => Promise<boolean>;
  readonly signal: AbortSignal;
}

/** Opens the stream or creates it. Errors: those of `openStream`. */
export function openBlobStream(js: JetStream, { replicas, leads, signal }: OpenBlobStream): Promise<void> {
  return openStream(js, { config: configOf(replicas), holds: "the blob store", leads, signal });
}

type Page = ApiReply & {
  readonly total?: number;
  readonly state: { readonly subjects?: Readonly<Record<string, number>> };
};

/**
 * Yields the last token of each subject below one of `subjects`, with its number of messages. Too slow for the path of
 * a request. Errors: unavailable.
 */
export async function* listSubjects(js: JetStream, kind: keyof typeof subjects): AsyncGenerator<[string, number]> {
  const prefix = subjects[kind]("");
  const ask = async (offset: number) =>
    expectReply(await js.call<Page>(`STREAM.INFO.${blobStream}`, { subjects_filter: `${prefix}>`, offset }));
  for await (const { state } of pages(ask, (page) => Object.keys(page.state.subjects ?? {}).length)) {
    for (const [subject, count] of Object.entries(state.subjects ?? {})) yield [subject.slice(prefix.length), count];
  }
}

/** Removes the messages of a subject except the last `keep`. */
export async function purge(js: JetStream, subject: string, keep = 0): Promise<void> {
  const query = keep === 0 ? { filter: subject } : { filter: subject, keep };
  expectReply(await js.call(`STREAM.PURGE.${blobStream}`, query));
}

/** Removes the messages of a subject up to a sequence, included. */
export async function purgeUpTo(js: JetStream, subject: string, upTo: number): Promise<void> {
  expectReply(await js.call(`STREAM.PURGE.${blobStream}`, { filter: subject, seq: upTo + 1 }));
}

/** Whether a compare-and-set failed, or may have failed. */
export function isLost(reply: ApiReply): boolean {
  return isCode(reply, jsCode.wrongLastSequence, jsCode.wrongLastSequenceNow);
}
