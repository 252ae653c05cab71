import { KeyedMutex } from "../../lib/keyed-mutex.ts";
import { UnibusError } from "../../wire/errors.ts";
import { bucketStream } from "../../wire/names.ts";
import { type CallReply, type Calls, expectReply, isCode, kvCode, unanswered } from "./calls.ts";
import type { CertainReads } from "./certain-reads.ts";
import type { Entry } from "./entry.ts";
import { Recent } from "./recent.ts";

/** The largest value, in bytes: what one NATS message takes, less its headers. */
const valueBytesMax = 1_048_576;
/** How often a change is made again that another came before. */
const attemptsMax = 100;
/** How long a change waits before it is made again, at most, in milliseconds. */
const pauseMsMax = 20;
/** How long a value may have been known, in milliseconds, that is replaced without another look at it. */
const latelyMs = 1_000;
/** How much JSON of known values is kept, in bytes. */
const latelyBytesMax = 4 * 1_048_576;
/** Pages of a list of keys: nats-server names 100,000 in each. */
const keyPagesMax = 100;

/** What a key held a moment ago. */
interface Lately<T> {
  readonly value: T;
  readonly revision: number;
  /** When it became known, on the clock that never jumps. */
  readonly since: number;
}

/** How a bucket is read. */
interface BucketOptions {
  readonly prefix?: string;
  /** What decides who may do something is read with certainty, by reads of the same bucket. */
  readonly reads?: CertainReads;
  /** Whether a change begins with what was known a moment ago: whether that still held, its write finds out. */
  readonly recalls?: boolean;
}

interface MessageReply extends CallReply {
  readonly message?: {
    readonly seq: number;
    readonly time: string;
    readonly data?: string;
    readonly hdrs?: string;
  };
}

interface SubjectsReply extends CallReply {
  readonly total?: number;
  readonly state: { readonly subjects?: Readonly<Record<string, number>> };
}

const bytesOf = (text: string | undefined): Buffer => Buffer.from(text ?? "", "base64");

const operationHeader = "KV-Operation";
const isMarker = (hdrs: string | undefined): boolean => bytesOf(hdrs).includes(`\r\n${operationHeader}: `);

/** The value of a message. Errors: unavailable for one that is none: what cannot be read is not nothing. */
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

/** Waits a moment, not the same for everybody. */
function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.random() * pauseMsMax));
}

/** The error for a change that others came before again and again. */
export function tooBusy(): UnibusError {
  return new UnibusError("unavailable", "too many changes at once (try again)");
}

/** Makes a change until it is made, or another came before it too often. Null asks for another attempt. */
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
 * The keys of one bucket that begin with a prefix, with values that are JSON. Reads go to the leader of its stream.
 * Errors: unavailable for every answer that does not say what is there.
 */
export class Bucket<T> {
  readonly #calls: Calls;
  readonly #stream: string;
  readonly #root: string;
  readonly #reads: CertainReads | undefined;
  readonly #turns = new KeyedMutex();
  /** Changes that no write has taken up yet, by key. */
  readonly #waiting = new Map<string, Waiting<T>[]>();
  readonly #lately: Recent<Lately<T>> | null;

  constructor(calls: Calls, name: string, { prefix = "", reads, recalls = false }: BucketOptions = {}) {
    this.#calls = calls;
    this.#reads = reads;
    this.#lately = recalls ? new Recent(latelyBytesMax) : null;
    this.#stream = bucketStream(name);
    this.#root = `$KV.${name}.${prefix}`;
  }

  /** What a key holds. */
  get(key: string): Promise<Entry<T>> {
    return this.#reads === undefined ? this.#read(key) : this.#reads.get(this.#root + key, () => this.#read(key));
  }

  async #read(key: string): Promise<Entry<T>> {
    const query = { last_by_subj: this.#root + key };
    const reply = await this.#calls.read<MessageReply>(`STREAM.MSG.GET.${this.#stream}`, query);
    if (isCode(reply, kvCode.noMessage)) return { value: null, revision: 0, at: 0, bytes: 0 };
    const { message } = expectReply(reply);
    if (message === undefined) throw unanswered("an answer without a message");
    const { seq: revision, time, data, hdrs } = message;
    const at = Date.parse(time);
    if (isMarker(hdrs)) return { value: null, revision, at, bytes: 0 };
    const json = bytesOf(data);
    const value = readValue<T>(json);
    this.#note(key, value, revision, json.byteLength);
    return { value, revision, at, bytes: json.byteLength };
  }

  /** Writes a key, whatever it holds. */
  async put(key: string, value: T): Promise<void> {
    await this.#write(key, value, null);
  }

  /** Writes a key that holds what it held at a revision (0: nothing ever). Gives the new one; null for a lost race. */
  replace(key: string, value: T, revision: number): Promise<number | null> {
    return this.#write(key, value, revision);
  }

  /** Writes a key that holds no value. Gives its revision; null when it holds one. */
  async create(key: string, value: T): Promise<number | null> {
    const made = await this.#write(key, value, 0);
    if (made !== null) return made;
    const entry = await this.get(key);
    return entry.value === null ? this.#write(key, value, entry.revision) : null;
  }

  /** Takes the value of a key away that holds what it held at a revision. False for a lost race. */
  async remove(key: string, revision: number): Promise<boolean> {
    return (await this.#write(key, null, revision)) !== null;
  }

  /**
   * Replaces what a key holds by what `change` makes of it, whoever changes it meanwhile. False where that is null.
   * `change` may be asked more than once. Errors: those of `change`.
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

  /** Makes a change of what was known a moment ago. That it is not to be made says nothing: something else may hold. */
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
   * Changes what a key holds, however many change it at once: those that come while a write is under way are one write
   * together. `change` gives the new value, or what it was given to leave it as it is.
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

  /** Makes the changes of a key that wait by now, in their order, by one write. */
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

  /** Removes keys without a trace: one, or by a pattern all that it fits. For keys that are written once. */
  async erase(pattern: string): Promise<void> {
    expectReply(await this.#calls.call<CallReply>(`STREAM.PURGE.${this.#stream}`, { filter: this.#root + pattern }));
  }

  /** Every key that a pattern fits, removed ones too, ascending. Never on the path of a request. */
  async keys(pattern: string): Promise<string[]> {
    const found = new Set<string>();
    for (let pages = 0, offset = 0; pages < keyPagesMax; pages++) {
      const query = { subjects_filter: this.#root + pattern, offset };
      const info = expectReply(await this.#calls.read<SubjectsReply>(`STREAM.INFO.${this.#stream}`, query));
      const subjects = Object.keys(info.state.subjects ?? {});
      for (const subject of subjects) found.add(subject.slice(this.#root.length));
      offset += subjects.length;
      if (subjects.length === 0 || offset >= (info.total ?? 0)) break;
    }
    return [...found].sort();
  }

  async #write(key: string, value: T | null, revision: number | null): Promise<number | null> {
    const payload = value === null ? "" : JSON.stringify(value);
    const bytes = Buffer.byteLength(payload);
    this.#lately?.delete(key);
    if (bytes > valueBytesMax) {
      throw new UnibusError("too_large", "this has become larger than the store takes (use several rooms)");
    }
    const fields = {
      ...(value === null ? { [operationHeader]: "DEL" } : {}),
      ...(revision === null ? {} : { "Nats-Expected-Last-Subject-Sequence": String(revision) }),
    };
    const attempt = async (): Promise<{ readonly result: number | null } | null> => {
      const reply = await this.#calls.publish(this.#root + key, payload, fields);
      if (isCode(reply, kvCode.wrongLastSequence)) return { result: null };
      if (!isCode(reply, kvCode.wrongLastSequenceNow)) return { result: this.#stored(expectReply(reply)) };
      // A write of the same key is under way, and it is open how it ends: what is there now decides.
      return (await this.get(key)).revision === revision ? null : { result: null };
    };
    const made = await untilMade(attempt);
    if (made !== null && value !== null) this.#note(key, value, made, bytes);
    return made;
  }

  #stored({ stream, seq }: { readonly stream: string; readonly seq: number }): number {
    if (stream !== this.#stream) throw unanswered(`an ack of ${stream}`);
    return seq;
  }
}
