/**
 * Keeps an image of all values of a bucket in memory, so that a query over all of them does not ask nats-server for
 * each. `UserIndex` (the directory) and `RowTotals` (quotas) use it.
 *
 * The first query starts it. A push consumer delivers the last value of each key, then all writes. A query waits until
 * the image has caught up with the last write that the leader had when the query was made, so it is never stale. An
 * image that misses a message or hears nothing for too long is discarded, and a new one is loaded.
 */
import { createInbox, type Msg } from "nats";
import { type ApiReply, isCode, type JetStream, jsCode } from "../../../nats/jetstream.ts";
import { bucketStream } from "../../../wire/names.ts";
import { expectReply, unanswered } from "../errors.ts";
import { ReadIndex } from "./read-index.ts";

/** The idle heartbeat of the consumer, and how long nats-server keeps it after the subscriber is gone. */
const heartbeatMs = 2_000;
const inactiveMs = 10_000;
const nanosecondsPerMs = 1_000_000;
/** The image is reloaded after this time without a message or heartbeat, in milliseconds. */
const silenceMsMax = 3 * heartbeatMs;
/** The image is reloaded if it makes no progress for this time while it is behind the leader, in milliseconds. */
const standstillMs = 2_000;
/** How many such waits one query may take, because a large bucket takes time to load; and how many may fail. */
const attemptsMax = 12;
const vainMax = 3;

/** The image of a bucket, which the caller defines. */
export interface Image {
  /** Called for each write of a key. `json` is empty if its value was removed. */
  set(key: string, json: string, revision: number): void;
}

interface LastReply extends ApiReply {
  readonly message?: { readonly seq: number };
}

/** One generation of an image: from the start of its consumer until a message may have been missed. */
class Life<I extends Image> {
  readonly image: I;
  readonly #root: string;
  readonly #waiting = new Set<{ readonly seq: number; readonly resolve: () => void }>();
  #nth = 0;
  #seq = 0;
  #heardAt = performance.now();
  isOver = false;
  leave: () => void = () => undefined;

  constructor(image: I, root: string) {
    this.image = image;
    this.#root = root;
  }

  /** Whether it still hears from its consumer, so that it lags by no more than what is in flight. */
  get isAlive(): boolean {
    return !this.isOver && performance.now() - this.#heardAt < silenceMsMax;
  }

  end(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.leave();
    for (const { resolve } of this.#waiting) resolve();
  }

  /** Handles a message of the consumer: a value, a heartbeat, or a flow control request. */
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
    const json = message.headers?.has("KV-Operation") ? "" : message.string();
    this.image.set(message.subject.slice(this.#root.length), json, this.#seq);
    for (const one of this.#waiting) if (one.seq <= this.#seq) one.resolve();
  }

  /**
   * Waits until the image has reached a sequence. Returns false on timeout, or if this generation is over; a wait
   * without any progress ends it.
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
}

/** The bucket to follow (only keys without a dot), and the image to build from it. */
export interface Followed<I> {
  readonly bucket: string;
  readonly make: () => I;
  /** The name of the index in error messages. */
  readonly name: string;
}

/** Follows a bucket and provides the current image of its values. */
export class Follower<I extends Image> {
  readonly #js: JetStream;
  readonly #followed: Followed<I>;
  readonly #stream: string;
  readonly #root: string;
  readonly #last = new ReadIndex(() => this.#readLast());
  #life: Promise<Life<I>> | null = null;
  #isStopped = false;

  constructor(js: JetStream, followed: Followed<I>, signal?: AbortSignal) {
    this.#js = js;
    this.#followed = followed;
    this.#stream = bucketStream(followed.bucket);
    this.#root = `$KV.${followed.bucket}.`;
    signal?.addEventListener("abort", () => {
      this.#isStopped = true;
      void this.#life?.then((life) => life.end()).catch(() => undefined);
    });
  }

  /** The image, at least as new as the last write before this call. Read it synchronously. Errors: unavailable. */
  async now(): Promise<I> {
    const seq = await this.#last.next();
    for (let attempt = 0, vain = 0; attempt < attemptsMax && vain < vainMax; attempt++) {
      const life = await this.#alive();
      if (await life.reached(seq)) return life.image;
      if (life.isOver) vain += 1;
    }
    throw unanswered(`the index of ${this.#followed.name} does not catch up with the bucket`);
  }

  /** The sequence of the last write; 0 if there is none. */
  async #readLast(): Promise<number> {
    const reply = await this.#js.read<LastReply>(`STREAM.MSG.GET.${this.#stream}`, {
      last_by_subj: `${this.#root}*`,
    });
    if (isCode(reply, jsCode.noMessage)) return 0;
    return expectReply(reply).message?.seq ?? 0;
  }

  /** The current generation if it is alive, else a new one. */
  async #alive(): Promise<Life<I>> {
    const current = await this.#life?.catch(() => null);
    if (current?.isAlive) return current;
    current?.end();
    if (this.#isStopped) throw unanswered("the store is closing");
    const begun = this.#begin();
    this.#life = begun;
    // Forget a failed start, so that the next query tries again.
    begun.catch(() => {
      if (this.#life === begun) this.#life = null;
    });
    return begun;
  }

  async #begin(): Promise<Life<I>> {
    const life = new Life(this.#followed.make(), this.#root);
    const inbox = createInbox();
    const leave = this.#js.subscribe(inbox, (message) => life.take(message, (subject) => this.#js.send(subject)));
    const config = {
      ...{ deliver_subject: inbox, deliver_policy: "last_per_subject", filter_subject: `${this.#root}*` },
      ...{ ack_policy: "none", max_deliver: 1, replay_policy: "instant", num_replicas: 1, mem_storage: true },
      ...{ flow_control: true, idle_heartbeat: heartbeatMs * nanosecondsPerMs },
      ...{ inactive_threshold: inactiveMs * nanosecondsPerMs },
    };
    try {
      const body = { stream_name: this.#stream, config };
      const { name } = expectReply(
        await this.#js.call<ApiReply & { readonly name: string }>(`CONSUMER.CREATE.${this.#stream}`, body),
      );
      life.leave = () => {
        leave();
        this.#js.call(`CONSUMER.DELETE.${this.#stream}.${name}`, {}).catch(() => undefined);
      };
      if (life.isOver || this.#isStopped) life.leave();
      return life;
    } catch (error) {
      leave();
      throw error;
    }
  }
}
