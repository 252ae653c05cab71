/**
 * The replay journal of signed requests: a nonce is accepted once per `nonceLifeMs`.
 * Invariant: a nonce is appended to the file before its request is admitted, and is forgotten only once no clock in the
 * allowed skew could still use it; a kill -9 loses none. `nonces` is the current file, `nonces.old` the one before it.
 * The auth plugin claims the nonce of every signed request here.
 */
import { closeSync, existsSync, ftruncateSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { usedNonce } from "../../contracts/nonces.ts";
import type { Health } from "../../contracts/plugin.ts";
import { toBase64, toHex } from "../../wire/encoding.ts";
import { UnibusError } from "../../wire/errors.ts";
import { keyBytes } from "../../wire/names.ts";

/**
 * How long a nonce is kept, in milliseconds, both by the wall clock and in elapsed time. After that no clock in the
 * allowed skew can use it. Source: docs/protocol/requests.md.
 */
export const nonceLifeMs = 62_000;
/** Maximum number of live nonces, for one user and in total. Source: docs/protocol/limits.md. */
export const noncesMax = { user: 20_000, all: 1_000_000 } as const;

const nonceBytes = 16;
const keyLength = 32;
/** Size of a record: the nonce, the user's key, and the expiry time (float64, milliseconds). */
const recordBytes = nonceBytes + keyLength + 8;
/** Nonces that expire within this interval are forgotten together, in milliseconds. */
const stepMs = 1_000;

/** What a try writes in place of a record: one that is not whole, and is cut off again. */
const noRecord = new Uint8Array(recordBytes - 1);

function attempt(work: () => void): void {
  try {
    work();
  } catch {
    // The next write reports what is wrong with the disk.
  }
}

const faultOf = (error: unknown): string => {
  const code = String((error as { code?: unknown } | null)?.code ?? "short write");
  return `cannot write the nonce journal: ${code} (see the disk of the data directory; no restart is needed)`;
};

/**
 * Remembers the nonces of admitted requests. A live nonce is never forgotten, even after a kill -9. The journal
 * alternates between two files, so that neither grows without limit.
 */
export class NonceJournal {
  readonly #users = new Map<string, string>();
  readonly #counts = new Map<string, number>();
  /**
   * Oldest first. Each step has an expiry time, the time of its last nonce, and a count of entries in `#users`, which
   * is in insertion order.
   */
  readonly #steps: { until: number; since: number; count: number }[] = [];
  readonly #elapsedMs: () => number;
  readonly #current: string;
  readonly #previous: string;
  readonly #record = Buffer.alloc(recordBytes);
  #file: number;
  #size = 0;
  /** Why the last write failed. */
  #fault: string | null = null;
  #since: number;

  /**
   * Opens the journal in a folder and reads the nonces of the previous run. `elapsedMs` is a monotonic clock: a wall
   * clock that jumps ahead and back must not cause a nonce to be forgotten. `max`: how many are kept at a time.
   */
  constructor(
    folder: string,
    now: number,
    elapsedMs = () => performance.now(),
    private readonly max: { readonly user: number; readonly all: number } = noncesMax,
  ) {
    this.#elapsedMs = elapsedMs;
    this.#current = join(folder, "nonces");
    this.#previous = join(folder, "nonces.old");
    for (const file of [this.#previous, this.#current]) this.#read(file, now);
    const compacted = `${this.#current}.new`;
    rmSync(compacted, { force: true });
    this.#file = openSync(compacted, "a", 0o600);
    this.#since = elapsedMs();
    // The individual expiry times are not kept after reading. Each nonce gets the maximum, which is only stricter.
    for (const [nonce, user] of this.#users) this.#append(nonce, user, now + nonceLifeMs);
    renameSync(compacted, this.#current);
    rmSync(this.#previous, { force: true });
  }

  /** The number of nonces in memory. */
  get size(): number {
    return this.#users.size;
  }

  /**
   * Records a nonce for its user, synchronously.
   * Shape: `nonce` is canonical base64-std of 16 bytes; `user` is a key in hex.
   * Errors: unauthenticated if the nonce was used before; rate_limited for a user with too many; unavailable if the
   * journal is full or the file cannot be written.
   */
  claim(nonce: string, user: string, now: number): void {
    this.#forget(now);
    if (this.#users.has(nonce)) {
      throw usedNonce();
    }
    if ((this.#counts.get(user) ?? 0) >= this.max.user) {
      throw new UnibusError("rate_limited", "too many requests from this user (try again in a minute)", {
        retryAfterS: 5,
      });
    }
    if (this.#users.size >= this.max.all) {
      throw new UnibusError("unavailable", "server busy: too many requests (try again)", { retryAfterS: 5 });
    }
    if (this.#isDue()) this.#tryTurn();
    this.#append(nonce, user, now + nonceLifeMs);
    this.#remember(nonce, user, now + nonceLifeMs);
  }

  /** Not ok while a nonce cannot be written: what failed is tried again here, without a nonce. */
  health(): Health {
    if (this.#fault === null) return { ok: true };
    try {
      writeSync(this.#file, noRecord);
      ftruncateSync(this.#file, this.#size);
      if (this.#isDue()) this.#turn();
      this.#fault = null;
      return { ok: true };
    } catch (error) {
      attempt(() => ftruncateSync(this.#file, this.#size));
      return { ok: false, detail: faultOf(error) };
    }
  }

  /** Closes the current file. */
  close(): void {
    closeSync(this.#file);
  }

  #isDue(): boolean {
    return this.#elapsedMs() - this.#since >= nonceLifeMs;
  }

  /** Without a new file the current one is used on: it grows, and forgets nothing. */
  #tryTurn(): void {
    try {
      this.#turn();
    } catch (error) {
      this.#fault = faultOf(error);
    }
  }

  #remember(nonce: string, user: string, until: number): void {
    this.#users.set(nonce, user);
    this.#counts.set(user, (this.#counts.get(user) ?? 0) + 1);
    const since = this.#elapsedMs();
    const last = this.#steps.at(-1);
    if (last === undefined || until > last.until)
      return void this.#steps.push({ until: until + stepMs, since, count: 1 });
    last.count += 1;
    last.since = since;
  }

  #forget(now: number): void {
    const before = this.#elapsedMs() - nonceLifeMs;
    const isPast = (step: { until: number; since: number }) => step.until <= now && step.since <= before;
    for (let step = this.#steps[0]; step !== undefined && isPast(step); step = this.#steps[0]) {
      this.#steps.shift();
      for (const [nonce, user] of this.#users) {
        if (step.count-- === 0) break;
        this.#users.delete(nonce);
        const left = (this.#counts.get(user) ?? 1) - 1;
        if (left === 0) this.#counts.delete(user);
        else this.#counts.set(user, left);
      }
    }
  }

  #append(nonce: string, user: string, until: number): void {
    this.#record.write(nonce, 0, "base64");
    this.#record.set(keyBytes(user), nonceBytes);
    this.#record.writeDoubleLE(until, nonceBytes + keyLength);
    try {
      if (writeSync(this.#file, this.#record) !== recordBytes) throw new Error("short write");
      this.#size += recordBytes;
      this.#fault = null;
    } catch (error) {
      // A partial record would misalign all records after it.
      attempt(() => ftruncateSync(this.#file, this.#size));
      this.#fault = faultOf(error);
      throw new UnibusError("unavailable", "the server cannot write its nonce journal (check its free disk space)", {
        cause: error,
      });
    }
  }

  /** Starts a new file. Every nonce in the older file has expired, so the current file replaces it. */
  #turn(): void {
    const fresh = `${this.#current}.new`;
    rmSync(fresh, { force: true });
    const file = openSync(fresh, "a", 0o600);
    renameSync(this.#current, this.#previous);
    renameSync(fresh, this.#current);
    closeSync(this.#file);
    this.#file = file;
    this.#size = 0;
    this.#since = this.#elapsedMs();
  }

  #read(file: string, now: number): void {
    if (!existsSync(file)) return;
    const bytes = readFileSync(file);
    for (let at = 0; at + recordBytes <= bytes.byteLength; at += recordBytes) {
      const until = bytes.readDoubleLE(at + nonceBytes + keyLength);
      if (!(until > now)) continue;
      const nonce = toBase64(bytes.subarray(at, at + nonceBytes));
      const user = toHex(bytes.subarray(at + nonceBytes, at + nonceBytes + keyLength));
      if (!this.#users.has(nonce)) this.#remember(nonce, user, now + nonceLifeMs);
    }
  }
}
