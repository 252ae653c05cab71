import type { Replicas } from "../../contracts/replicas.ts";
import { type Calls, expectReply, unanswered } from "./calls.ts";

/**
 * How long a leader that a majority has followed counts as the leader, in milliseconds. nats-server's followers wait at
 * least 4 s before they elect another: as long as this holds, nobody can have changed anything behind its back.
 */
const leaseMs = 3_000;
/** How long the majority may take to answer, in milliseconds. */
const confirmTimeoutMs = 2_000;
/** How often a read is made again because it outlasted the lease. */
const readsMax = 3;

/**
 * The certainty that the leader of a bucket still leads. One that is cut off from the others goes on answering reads
 * for more than ten seconds, as if nobody had been revoked since; a write it cannot finish.
 */
export class Lease {
  readonly #calls: Calls;
  readonly #subject: string;
  readonly #replicas: Replicas;
  #until = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | null = null;

  constructor(calls: Calls, bucket: string, replicas: Replicas) {
    this.#calls = calls;
    this.#subject = `$KV.${bucket}.lease.majority`;
    this.#replicas = replicas;
  }

  /** Runs a read while the leader is certain. Errors: those of the read; unavailable when it is not. */
  async during<R>(read: () => Promise<R>): Promise<R> {
    for (let reads = 0; reads < readsMax; reads++) {
      await this.#hold();
      const result = await read();
      if (performance.now() < this.#until) return result;
    }
    throw unanswered("the reads outlast the lease");
  }

  /** Renews in time; waits only where the lease has ended. */
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
    // A single copy has nobody to be cut off from.
    if ((await this.#replicas.count()) > 1) {
      expectReply(await this.#calls.publish(this.#subject, "1", {}, confirmTimeoutMs));
    }
    this.#until = from + leaseMs;
  }
}
