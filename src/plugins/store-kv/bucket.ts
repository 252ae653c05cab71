/**
 * A key-value bucket of JetStream, seen as the keys under one prefix with JSON values. It offers reads, writes by
 * compare-and-set on the key's revision, and retry loops for changes that race with other nodes.
 * Reads go to the stream's leader, or through `LinearizableReads` (linearizable/) if they decide access. Hot keys can
 * start a change from a recently known value; the compare-and-set detects a stale one. Many changes of one key on one
 * node are merged into one write (group commit). Everything in this folder is built on it.
 */
import { KeyedMutex } from "../../lib/keyed-mutex.ts";
import { LruCache } from "../../lib/lru-cache.ts";
import { type ApiReply, isCode, type JetStream, jsCode } from "../../nats/jetstream.ts";
import { pages } from "../../nats/pages.ts";
import { UnibusError } from "../../wire/errors.ts";
import { bucketStream } from "../../wire/names.ts";
import type { Entry, LinearizableReads } from "./entry.ts";
import { expectReply, unanswered } from "./errors.ts";

/** The largest value, in bytes: the limit of a NATS message without its headers. */
const valueBytesMax = 1_048_576;
/** How often a change is retried after losing a race. */
const attemptsMax = 100;
/** The longest random pause before such a retry, in milliseconds. */
const pauseMsMax = 20;
/** The maximum age of a known value from which a change may start without reading it again, in milliseconds. */
const latelyMs = 1_000;
/** The size of the cache of known values, in bytes of JSON. */
const latelyBytesMax = 4 * 1_048_576;

/** A recently known value of a key. */
interface Lately<T> {
  readonly value: T;
  readonly revision: number;
  /** When it became known, on the monotonic clock. */
  readonly since: number;
}

/** The options of a bucket. */
interface BucketOptions {
  readonly prefix?: string;
  /** Reads of the same bucket that are never stale. Set for data that decides access. */
  readonly linearizable?: LinearizableReads;
  /** Whether a change starts from a recently known value; the write detects whether that was still current. */
  readonly recalls?: boolean;
}

interface MessageReply extends ApiReply {
  readonly message?: {
    readonly seq: number;
    readonly time: string;
    readonly data?: string;
    readonly hdrs?: string;
  };
}

interface SubjectsReply extends ApiReply {
  readonly total?: number;
  readonly state: { readonly subjects?: Readonly<Record<string, number>> };
}

const bytesOf = (text: string | undefined): Buffer => Buffer.from(text ?? "", "base64");

const operationHeader = "KV-Operation";
const isMarker = (hdrs: string | undefined): boolean => bytesOf(hdrs).includes(`\r\n${operationHeader}: `);

/**
 * Parses a message's value. Errors: unavailable if it is malformed, because an unreadable value must not read as
 * absent.
 */
function readValue<T>(json: Buffer): T {
  let value: T | null;
  try {
    value = JSON.parse(json.toString()) as T | null;
  } catch (error) {
    throw unanswered(error);
  }
  if (value === null) throw unanswered("an entry without a value");
  return value;
}

/** Waits for a short random time, so that competing writers do not retry in lockstep. */
function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.random() * pauseMsMax));
}

/** The error for a change that lost the race too often. */
export function tooBusy(): UnibusError {
  return new UnibusError("unavailable", "too many changes at once (try again)");
}

/**
 * Repeats a change until it succeeds, or fails with `tooBusy` after too many lost races. `attempt` returns null to be
 * retried.
 */
export async function untilMade<R>(attempt: () => Promise<{ readonly result: R } | null>): Promise<R> {
  for (let tries = 1; tries <= attemptsMax; tries++) {
    const made = await attempt();
    if (made !== null) return made.result;
    await pause();
  }
  throw tooBusy();
}

type Change<T> = (value: T | null) => T | null;

interface Waiting<T> {
  readonly change: Change<T>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The keys of one bucket under a prefix, with JSON values. Reads go to the leader of its stream.
 * Errors: unavailable for every reply that does not show whether the key has a value.
 */
export class Bucket<T> {
  readonly #js: JetStream;
  readonly #stream: string;
  readonly #root: string;
  readonly #linearizable: LinearizableReads | undefined;
  readonly #turns = new KeyedMutex();
  /** Queued changes that no write includes yet, by key. */
  readonly #waiting = new Map<string, Waiting<T>[]>();
  readonly #lately: LruCache<Lately<T>> | null;

  constructor(js: JetStream, name: string, { prefix = "", linearizable, recalls = false }: BucketOptions = {}) {
    this.#js = js;
    this.#linearizable = linearizable;
    this.#lately = recalls ? new LruCache(latelyBytesMax) : null;
    this.#stream = bucketStream(name);
    this.#root = `$KV.${name}.${prefix}`;
  }

  /** Reads a key. */
  get(key: string): Promise<Entry<T>> {
    const fromLeader = () => this.#read(key);
    return this.#linearizable?.read(this.#root + key, fromLeader) ?? fromLeader();
  }

  async #read(key: string): Promise<Entry<T>> {
    const query = { last_by_subj: this.#root + key };
    const reply = await this.#js.read<MessageReply>(`STREAM.MSG.GET.${this.#stream}`, query);
    if (isCode(reply, jsCode.noMessage)) return { value: null, revision: 0, at: 0, bytes: 0 };
    const { message } = expectReply(reply);
    if (message === undefined) throw unanswered("a reply without a message");
    const { seq: revision, time, data, hdrs } = message;
    const at = Date.parse(time);
    if (isMarker(hdrs)) return { value: null, revision, at, bytes: 0 };
    const json = bytesOf(data);
    const value = readValue<T>(json);
    this.#note(key, value, revision, json.byteLength);
    return { value, revision, at, bytes: json.byteLength };
  }

  /** Writes a key unconditionally. */
  async put(key: string, value: T): Promise<void> {
    await this.#write(key, value, null);
  }

  /**
   * Writes a key by compare-and-set on its revision (0: never written). Returns the new revision, or null for a lost
   * race.
   */
  replace(key: string, value: T, revision: number): Promise<number | null> {
    return this.#write(key, value, revision);
  }

  /** Writes a key that has no value. Returns its revision, or null if it has a value. */
  async create(key: string, value: T): Promise<number | null> {
    const made = await this.#write(key, value, 0);
    if (made !== null) return made;
    const entry = await this.get(key);
    return entry.value === null ? this.#write(key, value, entry.revision) : null;
  }

  /** Removes the value of a key by compare-and-set on its revision. Returns false for a lost race. */
  async remove(key: string, revision: number): Promise<boolean> {
    return (await this.#write(key, null, revision)) !== null;
  }

  /**
   * Replaces a key's value by the result of `change`, retrying after lost races. Returns false if `change` returns
   * null.
   * `change` may be called several times. Errors: those of `change`.
   */
  async change(key: string, change: Change<T>): Promise<boolean> {
    if (await this.#changeLately(key, change)) return true;
    return untilMade(async () => {
      const { value, revision } = await this.get(key);
      const next = change(value);
      if (next === null) return { result: false };
      return (await this.replace(key, next, revision)) === null ? null : { result: true };
    });
  }

  /**
   * Tries the change against the recently known value first. A null or an error from `change` is inconclusive, because
   * that value may be stale.
   */
  async #changeLately(key: string, change: Change<T>): Promise<boolean> {
    const lately = this.#lately?.get(key);
    if (lately === undefined || performance.now() - lately.since > latelyMs) return false;
    let next: T | null;
    try {
      next = change(lately.value);
    } catch {
      return false;
    }
    return next !== null && (await this.replace(key, next, lately.revision)) !== null;
  }

  #note(key: string, value: T, revision: number, bytes: number): void {
    this.#lately?.set(key, { value, revision, since: performance.now() }, bytes);
  }

  /**
   * Changes a key's value with group commit: changes that arrive while a write is in flight share the next write.
   * `change` returns the new value, or its argument to leave it unchanged.
   */
  update(key: string, change: Change<T>): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiting = this.#waiting.get(key);
      const mine = { change, resolve, reject };
      if (waiting !== undefined) return void waiting.push(mine);
      this.#waiting.set(key, [mine]);
      void this.#turns.hold(key, () => this.#updateAll(key));
    });
  }

  /** Applies the queued changes of a key, in order, with one write. */
  async #updateAll(key: string): Promise<void> {
    const group = this.#waiting.get(key) ?? [];
    this.#waiting.delete(key);
    const all = (value: T | null): T | null => {
      const next = group.reduce((held, { change }) => change(held) ?? held, value);
      return next === value ? null : next;
    };
    try {
      await this.change(key, all);
      for (const { resolve } of group) resolve();
    } catch (error) {
      for (const { reject } of group) reject(error);
    }
  }

  /**
   * Deletes keys without leaving markers: one key, or all that match a pattern. For keys that are written only once.
   */
  async erase(pattern: string): Promise<void> {
    expectReply(await this.#js.call<ApiReply>(`STREAM.PURGE.${this.#stream}`, { filter: this.#root + pattern }));
  }

  /** Lists every key that matches a pattern, including removed ones, ascending. Too slow for the path of a request. */
  async keys(pattern: string): Promise<string[]> {
    const found = new Set<string>();
    const ask = async (offset: number) => {
      const query = { subjects_filter: this.#root + pattern, offset };
      return expectReply(await this.#js.read<SubjectsReply>(`STREAM.INFO.${this.#stream}`, query));
    };
    for await (const { state } of pages(ask, (page) => Object.keys(page.state.subjects ?? {}).length)) {
      for (const subject of Object.keys(state.subjects ?? {})) found.add(subject.slice(this.#root.length));
    }
    return [...found].sort();
  }

  async #write(key: string, value: T | null, revision: number | null): Promise<number | null> {
    const payload = value === null ? "" : JSON.stringify(value);
    const bytes = Buffer.byteLength(payload);
    this.#lately?.delete(key);
    if (bytes > valueBytesMax) {
      throw new UnibusError("too_large", "the record exceeds the store's limit of 1 MiB (use several rooms)");
    }
    const fields = {
      ...(value === null ? { [operationHeader]: "DEL" } : {}),
      ...(revision === null ? {} : { "Nats-Expected-Last-Subject-Sequence": String(revision) }),
    };
    const attempt = async (): Promise<{ readonly result: number | null } | null> => {
      const reply = await this.#js.publish({ subject: this.#root + key, payload, headers: fields });
      if (isCode(reply, jsCode.wrongLastSequence)) return { result: null };
      if (!isCode(reply, jsCode.wrongLastSequenceNow)) return { result: this.#stored(expectReply(reply)) };
      // A write of the same key is in flight and may still fail. Retry if the value is unchanged; otherwise the race is
      // lost.
      return (await this.get(key)).revision === revision ? null : { result: null };
    };
    const made = await untilMade(attempt);
    if (made !== null && value !== null) this.#note(key, value, made, bytes);
    return made;
  }

  #stored({ stream, seq }: { readonly stream: string; readonly seq: number }): number {
    if (stream !== this.#stream) throw unanswered(`an ack from ${stream}`);
    return seq;
  }
}
