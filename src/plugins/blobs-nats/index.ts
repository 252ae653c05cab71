/** Stores the blobs of a cluster in a replicated object store, so that every node serves every blob. */
import { Type } from "@sinclair/typebox";
import { BlobStore } from "../../contracts/blobs.ts";
import { Nats } from "../../contracts/nats.ts";
import { definePlugin } from "../../contracts/plugin.ts";
import { Replicas } from "../../contracts/replicas.ts";
import { JetStream } from "../../nats/jetstream.ts";
import { openTimeoutMs } from "../../nats/open-stream.ts";
import { isUnibusError } from "../../wire/errors.ts";
import { blobErrors, expectReply } from "./errors.ts";
import { NatsBlobs } from "./store.ts";
import { blobStream, openBlobStream } from "./stream.ts";
import { sweepEvery } from "./sweep.ts";

/** Setup time beyond the opening of the stream, in milliseconds. */
const setupRestMs = 10_000;

/** Provides blob storage in JetStream, with as many replicas as the control plane has when the stream is created. */
export default definePlugin({
  name: "blobs-nats",
  api: 1,
  config: Type.Object({}, { additionalProperties: false }),
  setupBudgetMs: openTimeoutMs + setupRestMs,
  provides: { blobs: BlobStore },
  requires: { nats: Nats },
  optional: { replicas: Replicas },
  async setup({ log, now, signal }, { nats, replicas }) {
    const js = new JetStream(await nats.connection("CTL"), blobErrors);
    await openBlobStream(js, { replicas: (await replicas?.count()) ?? 1, leads: () => nats.leads(), signal });
    const blobs = new NatsBlobs(js, log);
    return {
      services: { blobs },
      async start() {
        // In the background, because only a version before 0.2.0 leaves charges to raise. A failure is retried at the
        // next start.
        blobs.raiseCharges().catch((cause: unknown) => {
          if (!signal.aborted)
            log.warn("could not raise every blob's charge to the minimum; retrying at the next start", { cause });
        });
        sweepEvery({ js, log, now, signal });
      },
      async health() {
        try {
          expectReply(await js.call(`STREAM.INFO.${blobStream}`, {}));
          return { ok: true };
        } catch (error) {
          return { ok: false, ...(isUnibusError(error) && { detail: error.message }) };
        }
      },
    };
  },
});
