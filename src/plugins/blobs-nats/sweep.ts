import type { Log } from "../../contracts/plugin.ts";
import { every } from "../../lib/every.ts";
import type { JetStream } from "../../nats/jetstream.ts";
import { lastMessage } from "../../nats/messages.ts";
import { blobStream, listSubjects, purge, subjects } from "./stream.ts";
import { giveUp } from "./upload.ts";

/** Interval between sweeps for remains of uploads, in milliseconds. */
const sweepEveryMs = 600_000;
/** Age at which an unfinished upload counts as aborted, in milliseconds: far longer than any upload takes. */
const uploadAgeMsMax = 3_600_000;

/** The dependencies of a sweep. */
export interface SweepDeps {
  readonly js: JetStream;
  readonly log: Log;
  readonly now: () => number;
  readonly signal: AbortSignal;
}

/** Removes the remains of uploads that a crash aborted, and charges that a later charge replaced. */
export async function sweep({ js, log, now, signal }: SweepDeps): Promise<void> {
  for await (const [upload] of listSubjects(js, "open")) {
    if (signal.aborted) return;
    const found = await lastMessage(js, blobStream, subjects.open(upload));
    if (found === null) continue;
    const state = Buffer.from(found.data).toString();
    if (state === "done") await purge(js, subjects.open(upload));
    else if (state === "void" || now() - found.at > uploadAgeMsMax) {
      log.info("removing an aborted upload", { upload });
      // It has ended already: it was given up but its chunks may remain, or it was committed just now.
      if (!(await giveUp(js, upload, found.seq))) log.debug("the upload has already ended", { upload });
    }
  }
  for await (const [owner, count] of listSubjects(js, "charge")) {
    if (signal.aborted) return;
    if (count > 1) await purge(js, subjects.charge(owner), 1);
  }
}

/** Sweeps now and then at intervals until the bus stops. A failed sweep is logged and retried at the next interval. */
export function sweepEvery(parts: SweepDeps): void {
  const onError = (cause: unknown) => parts.log.warn("blob sweep failed", { cause });
  every(() => sweep(parts), { pauseMs: sweepEveryMs, signal: parts.signal, onError });
}
