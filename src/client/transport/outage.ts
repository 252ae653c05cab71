/**
 * Handles outages of the server: reports each outage once, however many parts of the client retry, and queues the
 * application's requests until the server answers again, in their order.
 */
import { backoffMs } from "../../lib/backoff.ts";
import { hasCode, UnibusError } from "../../wire/errors.ts";
import type { SendOptions } from "../rooms/publisher.ts";
import { type BusStatus, type FailedAttempt, StatusHolder } from "../status.ts";
import { pause, waitFor } from "./wait.ts";

/** Backoff between attempts, in milliseconds, with full jitter. */
const retryMs = { first: 100, most: 2_000 } as const;
/** Default timeout of a send, in milliseconds. */
const sendTimeoutMs = 30_000;

/** Whether an error means that the server or the way to it is temporarily unavailable. */
function isAway(error: unknown): boolean {
  return (
    ["unavailable", "timeout", "rate_limited"].some((code) => hasCode(error, code as "timeout")) || isOfNats(error)
  );
}

function isOfNats(error: unknown): boolean {
  return (error as { name?: unknown } | null)?.name === "NatsError";
}

/** Decides which errors are reported during an outage, and holds the status of the connection. */
export class Outage {
  #isReported = false;
  readonly #holder: StatusHolder;

  /** `onChange`: see `StatusHolder`. */
  constructor(onChange: (status: BusStatus) => void) {
    this.#holder = new StatusHolder(onChange);
  }

  get status(): BusStatus {
    return this.#holder.status;
  }

  /** Whether to report an error. Of the errors that an outage causes, only the first is reported. */
  isNews(error: unknown): boolean {
    if (!isAway(error)) return true;
    const isFirst = !this.#isReported;
    this.#isReported = true;
    return isFirst;
  }

  /** The connection to the data plane broke. */
  down(): void {
    this.#holder.broke();
  }

  /** The connection was made or restored, which ends an outage. */
  up(): void {
    this.#isReported = false;
    this.#holder.connected();
  }

  /** An attempt to reconnect failed. */
  failed(attempt: FailedAttempt): void {
    this.#holder.failed(attempt);
  }

  /** The bus was closed for good. */
  closed(cause: unknown): void {
    this.#holder.closed(cause);
  }

  /** The control plane answered. Ends an outage that affected only the control plane. */
  answered(): void {
    if (this.status.state !== "reconnecting") this.#isReported = false;
  }
}

interface Waiting {
  readonly endMs: number;
  readonly late: () => UnibusError;
  readonly signal: AbortSignal | undefined;
}

/** The error for work whose timeout expired. `last`: the error of its last attempt, if there was one. */
function lateError(timeoutMs: number, last: unknown): UnibusError {
  const what = `the server did not answer within ${timeoutMs / 1_000} s; nothing was sent`;
  if (last === undefined) return new UnibusError("unavailable", `${what} (try again)`);
  return new UnibusError("unavailable", `${what}: ${(last as Error).message}`, { cause: last });
}

/** Retries work while the server is unavailable. All callers share one backoff and continue in their order. */
export class Patience {
  #pausing: Promise<void> | null = null;
  #attempt = 0;

  /** `closing` aborts all waiting work. `onTrouble` gets the first failure of each outage. */
  constructor(
    private readonly closing: AbortSignal,
    private readonly onTrouble: (error: unknown) => void,
  ) {}

  /**
   * The result of `work` once the server answers, and how much of the timeout is left, in milliseconds. If `offline` is
   * `refuse`, it tries once. `timeoutMs`: default 30 s.
   * Errors: those of `work`; unavailable when the timeout expires; the signal's reason.
   */
  async run<T>(
    work: () => Promise<T>,
    { timeoutMs = sendTimeoutMs, offline, signal }: SendOptions,
  ): Promise<{ readonly done: T; readonly leftMs: number }> {
    const endMs = performance.now() + timeoutMs;
    for (let last: unknown; ; ) {
      const late = () => lateError(timeoutMs, last);
      if (this.#pausing !== null && offline !== "refuse") await this.#wait(this.#pausing, { endMs, late, signal });
      this.closing.throwIfAborted();
      try {
        const done = await work();
        this.#attempt = 0;
        return { done, leftMs: Math.max(0, endMs - performance.now()) };
      } catch (error) {
        signal?.throwIfAborted();
        this.closing.throwIfAborted();
        if (!hasCode(error, "unavailable") || offline === "refuse" || performance.now() >= endMs) throw error;
        if (this.#attempt === 0 && this.#pausing === null) this.onTrouble(error);
        last = error;
      }
      // All waiting work continues together, in the order in which it started.
      this.#pausing ??= this.#pause();
    }
  }

  async #wait(pausing: Promise<void>, { endMs, late, signal }: Waiting): Promise<void> {
    const leftMs = endMs - performance.now();
    if (leftMs <= 0) throw late();
    const timer = AbortSignal.timeout(leftMs);
    const signals = signal === undefined ? [timer, this.closing] : [timer, this.closing, signal];
    await waitFor(pausing, AbortSignal.any(signals)).catch((error: unknown) => {
      signal?.throwIfAborted();
      throw timer.aborted ? late() : error;
    });
  }

  #pause(): Promise<void> {
    const ms = backoffMs(this.#attempt, retryMs);
    this.#attempt += 1;
    return pause(ms, undefined).finally(() => {
      this.#pausing = null;
    });
  }
}
