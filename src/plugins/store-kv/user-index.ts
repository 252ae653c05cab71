/**
 * The active users of a bucket in memory, by endpoint and by the looks of their handles: what the directory is read
 * from, so that a page of it asks nats-server for one message instead of a thousand.
 *
 * It begins with the first question and follows the bucket by one push consumer, each user's last value first, then
 * what is written. A question is answered once the index has seen the last write that the leader knew when it was
 * asked; an index that hears nothing, or misses a message, begins anew. Looks live in memory alone, so that another
 * version of them needs no migration. About 800 bytes a user.
 */
import { createInbox, type Msg } from "nats";
import type { ActiveUsers, UserRecord } from "../../contracts/store.ts";
import { type Looks, looksOf } from "../../wire/looks.ts";
import { bucketStream, buckets } from "../../wire/names.ts";
import { type CallReply, type Calls, expectReply, isCode, kvCode, unanswered } from "./calls.ts";
import { ReadIndex } from "./read-index.ts";

/** How often nats-server says that it is still there, and how long it keeps a consumer that nobody hears. */
const heartbeatMs = 2_000;
const inactiveMs = 10_000;
const nanosecondsPerMs = 1_000_000;
/** After how long without a message or a heartbeat the index begins anew, in milliseconds. */
const silenceMsMax = 3 * heartbeatMs;
/** How long the index may stand still behind the leader before it begins anew, in milliseconds. */
const standstillMs = 2_000;
/** How often a question waits that long in all, as a large bucket takes a while to load; and how often in vain. */
const attemptsMax = 12;
const vainMax = 3;

const root = `$KV.${buckets.users}.`;
/** Users alone: the other keys of the bucket have a prefix with a dot. */
const everyUser = `${root}*`;
const stream = bucketStream(buckets.users);

type StoredUser = Omit<UserRecord, "revision">;

/** An active user: the record as JSON, which is parsed when it is asked for, and where it is found. */
interface Held extends Looks {
  readonly json: string;
  readonly revision: number;
}

interface LastReply extends CallReply {
  readonly message?: { readonly seq: number };
}

const before = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Endpoints by look. Most looks belong to one user. */
class LookMap {
  readonly #endpoints = new Map<string, Set<string>>();

  add(look: string, endpoint: string): void {
    const known = this.#endpoints.get(look);
    if (known === undefined) this.#endpoints.set(look, new Set([endpoint]));
    else known.add(endpoint);
  }

  remove(look: string, endpoint: string): void {
    const known = this.#endpoints.get(look);
    if (known?.delete(endpoint) && known.size === 0) this.#endpoints.delete(look);
  }

  of(look: string): Iterable<string> {
    return this.#endpoints.get(look) ?? [];
  }
}

/** One life of the index: from the beginning of a consumer to the first sign that something was missed. */
class Life {
  readonly #held = new Map<string, Held>();
  readonly #byLook1 = new LookMap();
  readonly #byLook2 = new LookMap();
  /** The endpoints in order; null until a page is asked for. */
  #sorted: string[] | null = null;
  readonly #waiting = new Set<{ readonly seq: number; readonly resolve: () => void }>();
  #nth = 0;
  #seq = 0;
  #heardAt = performance.now();
  isOver = false;
  leave: () => void = () => undefined;

  /** Whether it may still be behind by no more than what is on its way. */
  get isAlive(): boolean {
    return !this.isOver && performance.now() - this.#heardAt < silenceMsMax;
  }

  end(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.leave();
    for (const { resolve } of this.#waiting) resolve();
  }

  /** Takes a message of the consumer: a user, a heartbeat, or the question whether to go on. */
  take(message: Msg, respond: (subject: string) => void): void {
    if (this.isOver) return;
    this.#heardAt = performance.now();
    if ((message.headers?.code ?? 0) > 100) {
      this.end();
      return;
    }
    if (message.headers?.code === 100) {
      const stalled = message.reply ?? message.headers.get("Nats-Consumer-Stalled");
      if (stalled) respond(stalled);
      const delivered = message.headers.get("Nats-Last-Consumer");
      if (delivered !== "" && Number(delivered) !== this.#nth) this.end();
      return;
    }
    const parts = (message.reply ?? "").split(".");
    const [, seq = "", nth = ""] = parts.slice(parts.length > 9 ? 6 : 4);
    if (Number(nth) !== this.#nth + 1) {
      this.end();
      return;
    }
    this.#nth += 1;
    this.#seq = Number(seq);
    this.#set(message.subject.slice(root.length), message, this.#seq);
    for (const one of this.#waiting) if (one.seq <= this.#seq) one.resolve();
  }

  /**
   * Waits until a sequence was seen. False where that did not come in time, or this life is over, which it is when
   * nothing came at all.
   */
  async reached(seq: number): Promise<boolean> {
    if (this.#seq >= seq) return !this.isOver;
    const { promise, resolve } = Promise.withResolvers<void>();
    const mine = { seq, resolve };
    this.#waiting.add(mine);
    const [timer, from] = [setTimeout(resolve, standstillMs), this.#seq];
    await promise;
    clearTimeout(timer);
    this.#waiting.delete(mine);
    if (this.#seq === from) this.end();
    return !this.isOver && this.#seq >= seq;
  }

  list({ looks, after, limit }: ActiveUsers): UserRecord[] {
    return this.#endpoints(looks, after, limit).flatMap((endpoint) => {
      const held = this.#held.get(endpoint);
      return held === undefined ? [] : [{ ...(JSON.parse(held.json) as StoredUser), revision: held.revision }];
    });
  }

  #endpoints(looks: Looks | undefined, after: string | null, limit: number): string[] {
    if (looks !== undefined) {
      const found = new Set([...this.#byLook1.of(looks.look1), ...this.#byLook2.of(looks.look2)]);
      return [...found]
        .filter((endpoint) => after === null || endpoint > after)
        .sort(before)
        .slice(0, limit);
    }
    this.#sorted ??= [...this.#held.keys()].sort(before);
    const from = after === null ? 0 : this.#placeOf(this.#sorted, after, true);
    return this.#sorted.slice(from, from + limit);
  }

  #set(endpoint: string, message: Msg, revision: number): void {
    const known = this.#held.get(endpoint);
    const json = message.headers?.has("KV-Operation") ? "" : message.string();
    const user = json === "" ? null : (JSON.parse(json) as StoredUser);
    const held = user?.status === "active" ? { json, revision, ...looksOf(user.handle) } : null;
    if (known !== undefined) {
      this.#byLook1.remove(known.look1, endpoint);
      this.#byLook2.remove(known.look2, endpoint);
    }
    if (held === null) this.#held.delete(endpoint);
    else {
      this.#held.set(endpoint, held);
      this.#byLook1.add(held.look1, endpoint);
      this.#byLook2.add(held.look2, endpoint);
    }
    if (this.#sorted === null || (known === undefined) === (held === null)) return;
    const place = this.#placeOf(this.#sorted, endpoint, false);
    if (held === null) this.#sorted.splice(place, 1);
    else this.#sorted.splice(place, 0, endpoint);
  }

  /** The place of an endpoint among those in order, or behind it. */
  #placeOf(sorted: readonly string[], endpoint: string, behind: boolean): number {
    let [low, high] = [0, sorted.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const one = sorted[middle] ?? "";
      if (behind ? one <= endpoint : one < endpoint) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** The active users of the users' bucket. */
export class UserIndex {
  readonly #calls: Calls;
  readonly #last = new ReadIndex(() => this.#readLast());
  #life: Promise<Life> | null = null;
  #isStopped = false;

  constructor(calls: Calls, signal?: AbortSignal) {
    this.#calls = calls;
    signal?.addEventListener("abort", () => {
      this.#isStopped = true;
      void this.#life?.then((life) => life.end()).catch(() => undefined);
    });
  }

  /** Active users by endpoint, no older than the last write before this call. Errors: unavailable. */
  async list(query: ActiveUsers): Promise<UserRecord[]> {
    const seq = await this.#last.next();
    for (let attempt = 0, vain = 0; attempt < attemptsMax && vain < vainMax; attempt++) {
      const life = await this.#alive();
      if (await life.reached(seq)) return life.list(query);
      if (life.isOver) vain += 1;
    }
    throw unanswered("the index of users does not follow the bucket");
  }

  /** The sequence of the last write of a user; 0 for none. */
  async #readLast(): Promise<number> {
    const reply = await this.#calls.read<LastReply>(`STREAM.MSG.GET.${stream}`, { last_by_subj: everyUser });
    if (isCode(reply, kvCode.noMessage)) return 0;
    return expectReply(reply).message?.seq ?? 0;
  }

  /** A life that goes on: the one there is, or another. */
  async #alive(): Promise<Life> {
    const current = await this.#life?.catch(() => null);
    if (current?.isAlive) return current;
    current?.end();
    if (this.#isStopped) throw unanswered("the store is closing");
    const begun = this.#begin();
    this.#life = begun;
    // What failed is not kept: the next question tries again.
    begun.catch(() => {
      if (this.#life === begun) this.#life = null;
    });
    return begun;
  }

  async #begin(): Promise<Life> {
    const life = new Life();
    const inbox = createInbox();
    const leave = this.#calls.subscribe(inbox, (message) => life.take(message, (subject) => this.#calls.send(subject)));
    const config = {
      ...{ deliver_subject: inbox, deliver_policy: "last_per_subject", filter_subject: everyUser },
      ...{ ack_policy: "none", max_deliver: 1, replay_policy: "instant", num_replicas: 1, mem_storage: true },
      ...{ flow_control: true, idle_heartbeat: heartbeatMs * nanosecondsPerMs },
      ...{ inactive_threshold: inactiveMs * nanosecondsPerMs },
    };
    try {
      const body = { stream_name: stream, config };
      const { name } = expectReply(
        await this.#calls.call<CallReply & { readonly name: string }>(`CONSUMER.CREATE.${stream}`, body),
      );
      life.leave = () => {
        leave();
        this.#calls.call(`CONSUMER.DELETE.${stream}.${name}`, {}).catch(() => undefined);
      };
      if (life.isOver || this.#isStopped) life.leave();
      return life;
    } catch (error) {
      leave();
      throw error;
    }
  }
}
