import { inTime } from "../../contracts/deadline.ts";
import { type RawReply, rawReply } from "../../contracts/plugin.ts";
import { UnibusError } from "../../wire/errors.ts";

/** Limits on concurrent history replies, per member and in total. Further reads wait. */
const readsMax = { member: 4, all: 16 } as const;
/** Timeout for one history read, including its wait, in milliseconds. Source: spec 8. */
const timeoutMs = 5_000;
/** A reply larger than this is streamed at the speed of its reader, in bytes. */
const largeBytes = 1_048_576;
/** Chunk size of a streamed reply, in bytes. */
const chunkBytes = 65_536;

const jsonHeaders = { "content-type": "application/json;charset=utf-8" };

const tooMany = () => {
  const message = "too many history reads in progress (read earlier replies first)";
  return new UnibusError("rate_limited", message, { retryAfterS: 1 });
};

const tooSlow = () => new UnibusError("unavailable", "the message store timed out (try again)");

/** A counting semaphore. Waiters acquire it in FIFO order. */
class Turns {
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(max: number) {
    this.#free = max;
  }

  /** Whether no holder has it. */
  isIdle(max: number): boolean {
    return this.#free === max;
  }

  async take(): Promise<void> {
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push(resolve);
    try {
      await inTime(promise, timeoutMs, tooMany);
    } catch (error) {
      const place = this.#waiting.indexOf(resolve);
      if (place === -1) this.give();
      else this.#waiting.splice(place, 1);
      throw error;
    }
  }

  give(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free += 1;
    else next();
  }
}

/**
 * Limits history replies in memory. A member who requests many and reads none holds only a few: the next read starts
 * when an earlier reply has been read to its end or its connection is closed.
 */
export class Outgoing {
  readonly #all = new Turns(readsMax.all);
  readonly #byMember = new Map<string, Turns>();

  /**
   * Replies with ASCII JSON from `make`, run when its turn comes. Errors: those of `make`; rate_limited; unavailable.
   */
  async reply(member: string, make: () => Promise<string>): Promise<RawReply> {
    const mine = this.#byMember.get(member) ?? new Turns(readsMax.member);
    this.#byMember.set(member, mine);
    const began = performance.now();
    await mine.take();
    let isDone = false;
    const done = (...turns: readonly Turns[]): void => {
      if (isDone) return;
      isDone = true;
      for (const turn of turns) turn.give();
      if (mine.isIdle(readsMax.member)) this.#byMember.delete(member);
    };
    try {
      await this.#all.take();
    } catch (error) {
      done(mine);
      throw error;
    }
    const end = () => done(this.#all, mine);
    const making = make();
    try {
      const json = await inTime(making, timeoutMs - (performance.now() - began), tooSlow);
      if (json.length > largeBytes) return rawReply(streamOf(json, end), { headers: jsonHeaders, size: json.length });
      end();
      return rawReply(json, { headers: jsonHeaders });
    } catch (error) {
      // A read that timed out still holds its memory, so release its turn only when it ends.
      making.then(end, end);
      throw error;
    }
  }
}

function streamOf(json: string, end: () => void): ReadableStream<Uint8Array> {
  let at = 0;
  const pull = (controller: ReadableStreamDefaultController<Uint8Array>): void => {
    controller.enqueue(Buffer.from(json.slice(at, at + chunkBytes), "latin1"));
    at += chunkBytes;
    if (at < json.length) return;
    end();
    controller.close();
  };
  return new ReadableStream({ pull, cancel: end }, { highWaterMark: 0 });
}
