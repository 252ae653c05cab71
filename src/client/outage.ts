/**
 * What a client does while the bus does not answer: it reports that once, however many parts of it try again, and what
 * an application asks for meanwhile waits, in the order in which it was asked for.
 */
import { hasCode, UnibusError } from "../wire/errors.ts";
import type { SendOptions } from "./publisher.ts";
import { type BusStatus, type FailedAttempt, StatusHolder } from "./status.ts";
import { pause, waitFor } from "./wait.ts";

/** Pauses between attempts, in milliseconds, with full jitter. */
const retryMs = { first: 100, most: 2_000 } as const;
/** How long a message is tried where nothing is said, in milliseconds. */
const sendTimeoutMs = 30_000;

/** Whether an error says that the bus, or the way to it, is away for now. */
function isAway(error: unknown): boolean {
  return (
    ["unavailable", "timeout", "rate_limited"].some((code) => hasCode(error, code as "timeout")) || isOfNats(error)
  );
}

function isOfNats(error: unknown): boolean {
  return (error as { name?: unknown } | null)?.name === "NatsError";
}

/** One outage after another: what is reported of each, and how the bus is connected. */
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

  /** Whether an error is to be reported: any but those that an outage brings after its first. */
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

  /** It is there, for the first time or again, which ends an outage. */
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

  /** The control plane answered, which ends an outage of it alone. */
  answered(): void {
    if (this.status.state !== "reconnecting") this.#isReported = false;
  }
}

interface Waiting {
  readonly endMs: number;
  readonly late: () => UnibusError;
  readonly signal: AbortSignal | undefined;
}

/** The error for work whose time is over. `last`: what its last attempt failed with, if there was one. */
function lateError(timeoutMs: number, last: unknown): UnibusError {
  const what = `the bus did not answer within ${timeoutMs / 1_000} s, and nothing was sent`;
  if (last === undefined) return new UnibusError("unavailable", `${what} (try again)`);
  return new UnibusError("unavailable", `${what}: ${(last as Error).message}`, { cause: last });
}

/** Work that is tried again while the bus is away. What begins later goes on later. */
export class Patience {
  #pausing: Promise<void> | null = null;
  #attempt = 0;

  /** `closing` ends all that waits. `onTrouble` gets the first failure of each outage. */
  constructor(
    private readonly closing: AbortSignal,
    private readonly onTrouble: (error: unknown) => void,
  ) {}

  /**
   * What `work` gives, once the bus answers, and how much of the time is left, in milliseconds. `offline: "refuse"`
   * tries once. `timeoutMs`: 30 s where nothing is said.
   * Errors: those of `work`; unavailable when the time is over; the signal's reason.
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
      // All who wait go on together, in the order in which they began.
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
    const ms = Math.random() * Math.min(retryMs.most, retryMs.first * 2 ** Math.min(this.#attempt, 10));
    this.#attempt += 1;
    return pause(ms, undefined).finally(() => {
      this.#pausing = null;
    });
  }
}
