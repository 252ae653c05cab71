import type { Replicas } from "../../../contracts/replicas.ts";
import type { JetStream } from "../../../nats/jetstream.ts";
import { expectReply, unanswered } from "../errors.ts";

/**
 * The duration of the leader lease, in milliseconds. nats-server's followers wait at least 4 s before they elect
 * another leader, so no other leader can have accepted writes while the lease holds.
 */
const leaseMs = 3_000;
/** The timeout for a majority to confirm the leader, in milliseconds. */
const confirmTimeoutMs = 2_000;
/** How often a read is repeated because the lease ran out during it. */
const readsMax = 3;

/**
 * A leader lease: proof that the leader of a bucket still leads. A partitioned leader answers reads for more than ten
 * seconds, as if no user had been revoked since, but it cannot complete a write.
 */
export class Lease {
  readonly #js: JetStream;
  readonly #subject: string;
  readonly #replicas: Replicas;
  #until = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | null = null;

  constructor(js: JetStream, bucket: string, replicas: Replicas) {
    this.#js = js;
    this.#subject = `$KV.${bucket}.lease.majority`;
    this.#replicas = replicas;
  }

  /** Runs a read under the lease. Errors: those of the read; unavailable without a lease. */
  async during<R>(read: () => Promise<R>): Promise<R> {
    for (let reads = 0; reads < readsMax; reads++) {
      await this.#hold();
      const result = await read();
      if (performance.now() < this.#until) return result;
    }
    throw unanswered("the reads took longer than the lease");
  }

  /** Renews the lease early in the background, and waits only if it has expired. */
  async #hold(): Promise<void> {
    const leftMs = this.#until - performance.now();
    if (leftMs > leaseMs / 2) return;
    this.#asking ??= this.#confirm().finally(() => {
      this.#asking = null;
    });
    if (leftMs <= 0) await this.#asking;
    else this.#asking.catch(() => undefined);
  }

  async #confirm(): Promise<void> {
    const from = performance.now();
    // A single replica cannot be partitioned from others.
    if ((await this.#replicas.count()) > 1) {
      expectReply(await this.#js.publish({ subject: this.#subject, payload: "1" }, confirmTimeoutMs));
    }
    this.#until = from + leaseMs;
  }
}
