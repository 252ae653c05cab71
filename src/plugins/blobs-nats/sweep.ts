import type { Log } from "../../contracts/plugin.ts";
import type { Calls } from "./calls.ts";
import { blobStream, listSubjects, purge, subjects } from "./stream.ts";
import { giveUp } from "./upload.ts";

/** How often what uploads left behind is looked for, in milliseconds. */
const sweepEveryMs = 600_000;
/** How long an upload may be under way before it counts as broken off, in milliseconds: far longer than any takes. */
const uploadAgeMsMax = 3_600_000;

/** What a sweep works with. */
export interface SweepParts {
  readonly calls: Calls;
  readonly log: Log;
  readonly now: () => number;
  readonly signal: AbortSignal;
}

/** Removes what uploads left behind that a crash broke off, and what was charged before the last charge. */
export async function sweep({ calls, log, now, signal }: SweepParts): Promise<void> {
  for await (const [upload] of listSubjects(calls, "open")) {
    if (signal.aborted) return;
    const found = await calls.last(blobStream, subjects.open(upload));
    if (found === null) continue;
    const state = Buffer.from(found.data).toString();
    if (state === "done") await purge(calls, subjects.open(upload));
    else if (state === "void" || now() - found.at > uploadAgeMsMax) {
      log.info("removing an upload that broke off", { upload });
      // Over already: it was given up and its chunks may be there still, or it was committed just now.
      if (!(await giveUp(calls, upload, found.seq))) log.debug("it is over", { upload });
    }
  }
  for await (const [owner, count] of listSubjects(calls, "charge")) {
    if (signal.aborted) return;
    if (count > 1) await purge(calls, subjects.charge(owner), 1);
  }
}

/** Sweeps now, and again and again until the bus stops. A sweep that fails is told and run again. */
export function sweepEvery(parts: SweepParts): void {
  const run = async (): Promise<void> => {
    try {
      await sweep(parts);
    } catch (error) {
      if (!parts.signal.aborted) parts.log.warn("a sweep of the blobs failed", { cause: error });
    }
    if (parts.signal.aborted) return;
    const timer = setTimeout(run, sweepEveryMs);
    parts.signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
  };
  void run();
}
