import { closeSync, existsSync, ftruncateSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { usedNonce } from "../../contracts/nonces.ts";
import { toBase64, toHex } from "../../wire/encoding.ts";
import { UnibusError } from "../../wire/errors.ts";
import { keyBytes } from "../../wire/names.ts";

/**
 * How long a nonce is remembered, in milliseconds, by the clock and in fact: past it no accepted clock can still use
 * it. Source: spec 5.
 */
export const nonceLifeMs = 62_000;
/** Live nonces of one user, and of all. Source: spec 5. */
export const noncesMax = { user: 20_000, all: 1_000_000 } as const;

const nonceBytes = 16;
const keyLength = 32;
/** A record: the nonce, the user's key, the time at which it is forgotten (float64, milliseconds). */
const recordBytes = nonceBytes + keyLength + 8;
/** Nonces that are forgotten together, in milliseconds. */
const stepMs = 1_000;

/**
 * The nonces of requests that were admitted. One that lives is never forgotten, also not over a kill -9: each is
 * appended to a file before its request is admitted. Two files take turns, so that neither grows for ever.
 */
export class NonceJournal {
  readonly #users = new Map<string, string>();
  readonly #counts = new Map<string, number>();
  /** Oldest first: until when, since when, how many nonces of `#users`, which keeps the order in which they came. */
  readonly #steps: { until: number; since: number; count: number }[] = [];
  readonly #elapsedMs: () => number;
  readonly #current: string;
  readonly #previous: string;
  readonly #record = Buffer.alloc(recordBytes);
  #file: number;
  #size = 0;
  #since: number;

  /**
   * Opens the journal in a folder and reads what a run before left. `elapsedMs` goes on evenly, however the clock is
   * set: one that jumps ahead and comes back must not have made anything forgotten.
   */
  constructor(folder: string, now: number, elapsedMs = () => performance.now()) {
    this.#elapsedMs = elapsedMs;
    this.#current = join(folder, "nonces");
    this.#previous = join(folder, "nonces.old");
    for (const file of [this.#previous, this.#current]) this.#read(file, now);
    const compacted = `${this.#current}.new`;
    rmSync(compacted, { force: true });
    this.#file = openSync(compacted, "a", 0o600);
    this.#since = elapsedMs();
    // Until when each lives is no longer known one by one: the longest that any can, which only errs on the safe side.
    for (const [nonce, user] of this.#users) this.#append(nonce, user, now + nonceLifeMs);
    renameSync(compacted, this.#current);
    rmSync(this.#previous, { force: true });
  }

  /** How many are remembered. */
  get size(): number {
    return this.#users.size;
  }

  /**
   * Remembers a nonce for its user, synchronously.
   * Shape: `nonce` canonical base64-std of 16 bytes; `user` a key in hex.
   * Errors: unauthenticated when it was used; rate_limited for a user with too many; unavailable when there is no
   * room or the file cannot be written.
   */
  claim(nonce: string, user: string, now: number): void {
    this.#forget(now);
    if (this.#users.has(nonce)) {
      throw usedNonce();
    }
    if ((this.#counts.get(user) ?? 0) >= noncesMax.user) {
      throw new UnibusError("rate_limited", "too many requests of this user (try again in a minute)", {
        retryAfterS: 5,
      });
    }
    if (this.#users.size >= noncesMax.all) {
      throw new UnibusError("unavailable", "too many requests at the moment (try again)", { retryAfterS: 5 });
    }
    if (this.#elapsedMs() - this.#since >= nonceLifeMs) this.#turn();
    this.#append(nonce, user, now + nonceLifeMs);
    this.#remember(nonce, user, now + nonceLifeMs);
  }

  /** Closes the file. */
  close(): void {
    closeSync(this.#file);
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
    } catch (error) {
      // Half a record would shift all that follow.
      ftruncateSync(this.#file, this.#size);
      throw new UnibusError("unavailable", "the server cannot write (is its disk full?)", { cause: error });
    }
  }

  /** All of the older file has expired by now: the newer takes its place. */
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
