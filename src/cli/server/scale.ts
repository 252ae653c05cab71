import type { InternalAccount, Nats } from "../../contracts/nats.ts";
import { type ApiReply, JetStream, jetStreamErrors, jsCode } from "../../nats/jetstream.ts";
import { pages } from "../../nats/pages.ts";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";

/** The streams of unibus. The control plane comes first, because room streams follow it. */
const stages: readonly (readonly [account: InternalAccount, names: RegExp])[] = [
  ["CTL", /^(KV|OBJ)_UNIBUS_/],
  ["BUS", /^UNIBUS_/],
];

/** How many streams are changed concurrently. Each copies all of its data. */
const streamsAtOnce = 4;
/** How long the copying of a stream may make no progress, in milliseconds. */
const stallTimeoutMs = 60_000;
/** Polling interval while a stream is copied, in milliseconds. */
const lookEveryMs = 100;
/** How often the list of streams is reread, because rooms may be created in the meantime. */
const passesMax = 5;

/** JetStream error codes for too few nodes. */
const tooFew: readonly number[] = [jsCode.noPeers, jsCode.noResources, jsCode.replicasNotSupported];

const errors = jetStreamErrors(
  "JetStream does not answer (check that a majority of the nodes is running, then try again)",
);

interface StreamInfo extends ApiReply {
  readonly config?: { readonly num_replicas: number };
  readonly cluster?: {
    readonly leader?: string;
    readonly replicas?: readonly { readonly name: string; readonly current: boolean; readonly lag?: number }[];
  };
}

interface Names extends ApiReply {
  readonly total?: number;
  readonly streams?: readonly string[] | null;
}

/** The result of scaling. */
export interface Scaled {
  /** Total number of streams. */
  readonly streams: number;
  /** Number of streams whose replica count changed. */
  readonly changed: number;
}

async function namesOf(js: JetStream, wanted: RegExp): Promise<string[]> {
  const found = new Set<string>();
  const ask = async (offset: number) => errors.expectReply(await js.call<Names>("STREAM.NAMES", { offset }));
  for await (const { streams } of pages(ask, (page) => page.streams?.length ?? 0)) {
    for (const name of streams ?? []) found.add(name);
  }
  return [...found].filter((name) => wanted.test(name)).sort();
}

function refusal(name: string, replicas: number, { err_code, description }: NonNullable<StreamInfo["error"]>) {
  if (!tooFew.includes(err_code ?? 0)) {
    return new UnibusError("unavailable", `${name} cannot be changed: ${description} (try again)`);
  }
  const hint = "start more nodes of the cluster, or scale to fewer";
  return new UnibusError("conflict", `${replicas} copies need ${replicas} running nodes (${hint})`);
}

/** Returns true if all replicas are up to date, else a text that changes with progress. */
function progress({ config, cluster }: StreamInfo, replicas: number): true | string {
  if (cluster === undefined) return replicas === 1 || "no cluster";
  const { leader = "", replicas: copies = [] } = cluster;
  const isDone = leader !== "" && copies.length === replicas - 1 && copies.every(({ current }) => current);
  return (config?.num_replicas === replicas && isDone) || JSON.stringify([leader, copies.map(({ lag }) => lag)]);
}

async function untilCopied(js: JetStream, name: string, replicas: number): Promise<void> {
  let [before, movedAt] = ["", performance.now()];
  for (;;) {
    // While the leader changes, there is no answer for a moment.
    const info = await js.call<StreamInfo>(`STREAM.INFO.${name}`, {}).catch((error: unknown) => {
      if (isUnibusError(error) && performance.now() - movedAt < stallTimeoutMs) return null;
      throw error;
    });
    if (info?.error?.err_code === jsCode.streamNotFound) return;
    const state = info === null || info.error !== undefined ? before : progress(info, replicas);
    if (state === true) return;
    if (state !== before) [before, movedAt] = [state, performance.now()];
    if (performance.now() - movedAt > stallTimeoutMs) {
      const hint = "check the logs of the nodes, then try again; finished streams are kept";
      throw new UnibusError("unavailable", `the replicas of ${name} do not catch up (${hint})`);
    }
    await Bun.sleep(lookEveryMs);
  }
}

/** Changes the replica count of one stream and waits until all are up to date. Returns whether the count changed. */
async function scaleOne(js: JetStream, name: string, replicas: number): Promise<boolean> {
  const { error, config } = await js.call<StreamInfo>(`STREAM.INFO.${name}`, {});
  if (error?.err_code === jsCode.streamNotFound) return false;
  if (error !== undefined) throw refusal(name, replicas, error);
  const isOther = config?.num_replicas !== replicas;
  if (isOther) {
    const change = { ...config, num_replicas: replicas };
    const changed = await js.call<StreamInfo>(`STREAM.UPDATE.${name}`, change);
    if (changed.error !== undefined && changed.error.err_code !== jsCode.streamNotFound) {
      throw refusal(name, replicas, changed.error);
    }
  }
  await untilCopied(js, name, replicas);
  return isOther;
}

/**
 * Changes the replica count of the control plane, then of the rooms, in place, and waits until every replica is up to
 * date. Idempotent. `report` receives the progress. Errors: conflict if there are too few nodes; unavailable.
 */
export async function scaleStreams(nats: Nats, replicas: number, report: (word: string) => void): Promise<Scaled> {
  const [seen, changed] = [new Set<string>(), new Set<string>()];
  for (const [account, wanted] of stages) {
    const js = new JetStream(await nats.connection(account), errors);
    for (let pass = 1, moved = 1; moved > 0 && pass <= passesMax; pass++) {
      moved = 0;
      const names = (await namesOf(js, wanted)).filter((name) => pass === 1 || !seen.has(name));
      for (const name of names) seen.add(name);
      for (let at = 0; at < names.length; at += streamsAtOnce) {
        const some = names.slice(at, at + streamsAtOnce);
        const done = await Promise.all(some.map((name) => scaleOne(js, name, replicas)));
        for (const [index, isOther] of done.entries()) if (isOther) changed.add(some[index] ?? "");
        moved += done.filter(Boolean).length;
        if (at + some.length === names.length || (at / streamsAtOnce) % 50 === 49) {
          report(`${account}: ${at + some.length} of ${names.length} streams have ${replicas} copies`);
        }
      }
    }
  }
  return { streams: seen.size, changed: changed.size };
}
