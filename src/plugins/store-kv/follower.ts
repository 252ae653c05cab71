/**
 * The values of a bucket in memory, as an image that a caller defines: what is asked about all of them, so that a
 * question does not ask nats-server for each.
 *
 * It begins with the first question and follows the bucket by one push consumer, each key's last value first, then
 * what is written. A question is answered once the image has seen the last write that the leader knew when it was
 * asked; one that hears nothing, or misses a message, begins anew.
 */
import { createInbox, type Msg } from "nats";
import { bucketStream } from "../../wire/names.ts";
import { type CallReply, type Calls, expectReply, isCode, kvCode, unanswered } from "./calls.ts";
import { ReadIndex } from "./read-index.ts";

/** How often nats-server says that it is still there, and how long it keeps a consumer that nobody hears. */
const heartbeatMs = 2_000;
const inactiveMs = 10_000;
const nanosecondsPerMs = 1_000_000;
/** After how long without a message or a heartbeat the image begins anew, in milliseconds. */
const silenceMsMax = 3 * heartbeatMs;
/** How long the image may stand still behind the leader before it begins anew, in milliseconds. */
const standstillMs = 2_000;
/** How often a question waits that long in all, as a large bucket takes a while to load; and how often in vain. */
const attemptsMax = 12;
const vainMax = 3;

/** What becomes of the values. */
export interface Image {
  /** A key was written. `json` is empty where its value was taken away. */
  set(key: string, json: string, revision: number): void;
}

interface LastReply extends CallReply {
  readonly message?: { readonly seq: number };
}

/** One life of an image: from the beginning of a consumer to the first sign that something was missed. */
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

  /** Takes a message of the consumer: a value, a heartbeat, or the question whether to go on. */
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
}

/** What is followed: the keys of a bucket that have no dot, and what their image is made of. */
export interface Followed<I> {
  readonly bucket: string;
  readonly make: () => I;
  /** What it is, for the error that says that it cannot be read. */
  readonly name: string;
}

/** Follows a bucket and answers with an image of its values. */
export class Follower<I extends Image> {
  readonly #calls: Calls;
  readonly #followed: Followed<I>;
  readonly #stream: string;
  readonly #root: string;
  readonly #last = new ReadIndex(() => this.#readLast());
  #life: Promise<Life<I>> | null = null;
  #isStopped = false;

  constructor(calls: Calls, followed: Followed<I>, signal?: AbortSignal) {
    this.#calls = calls;
    this.#followed = followed;
    this.#stream = bucketStream(followed.bucket);
    this.#root = `$KV.${followed.bucket}.`;
    signal?.addEventListener("abort", () => {
      this.#isStopped = true;
      void this.#life?.then((life) => life.end()).catch(() => undefined);
    });
  }

  /** The image, no older than the last write before this call. To be read at once. Errors: unavailable. */
  async now(): Promise<I> {
    const seq = await this.#last.next();
    for (let attempt = 0, vain = 0; attempt < attemptsMax && vain < vainMax; attempt++) {
      const life = await this.#alive();
      if (await life.reached(seq)) return life.image;
      if (life.isOver) vain += 1;
    }
    throw unanswered(`the index of ${this.#followed.name} does not follow the bucket`);
  }

  /** The sequence of the last write; 0 for none. */
  async #readLast(): Promise<number> {
    const reply = await this.#calls.read<LastReply>(`STREAM.MSG.GET.${this.#stream}`, {
      last_by_subj: `${this.#root}*`,
    });
    if (isCode(reply, kvCode.noMessage)) return 0;
    return expectReply(reply).message?.seq ?? 0;
  }

  /** A life that goes on: the one there is, or another. */
  async #alive(): Promise<Life<I>> {
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

  async #begin(): Promise<Life<I>> {
    const life = new Life(this.#followed.make(), this.#root);
    const inbox = createInbox();
    const leave = this.#calls.subscribe(inbox, (message) => life.take(message, (subject) => this.#calls.send(subject)));
    const config = {
      ...{ deliver_subject: inbox, deliver_policy: "last_per_subject", filter_subject: `${this.#root}*` },
      ...{ ack_policy: "none", max_deliver: 1, replay_policy: "instant", num_replicas: 1, mem_storage: true },
      ...{ flow_control: true, idle_heartbeat: heartbeatMs * nanosecondsPerMs },
      ...{ inactive_threshold: inactiveMs * nanosecondsPerMs },
    };
    try {
      const body = { stream_name: this.#stream, config };
      const { name } = expectReply(
        await this.#calls.call<CallReply & { readonly name: string }>(`CONSUMER.CREATE.${this.#stream}`, body),
      );
      life.leave = () => {
        leave();
        this.#calls.call(`CONSUMER.DELETE.${this.#stream}.${name}`, {}).catch(() => undefined);
      };
      if (life.isOver || this.#isStopped) life.leave();
      return life;
    } catch (error) {
      leave();
      throw error;
    }
  }
}
