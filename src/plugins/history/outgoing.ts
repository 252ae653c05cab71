import { inTime } from "../../contracts/deadline.ts";
import { type RawReply, rawReply } from "../../contracts/plugin.ts";
import { UnibusError } from "../../wire/errors.ts";

/** Histories that are read, or on their way, at once: to one member, and to all. Further ones wait. */
const readsMax = { member: 4, all: 16 } as const;
/** How long one may take in all, its wait for a turn included, in milliseconds. Source: spec 8. */
const timeoutMs = 5_000;
/** A reply above this size is handed out as fast as it is read, in bytes. */
const largeBytes = 1_048_576;
/** What is handed to the connection at once, in bytes. */
const chunkBytes = 65_536;

const jsonHeaders = { "content-type": "application/json;charset=utf-8" };

const tooMany = () => {
  const message = "too many histories are on their way (read those that you asked for first)";
  return new UnibusError("rate_limited", message, { retryAfterS: 1 });
};

const tooSlow = () => new UnibusError("unavailable", "the message store does not answer in time (try again)");

/** Lets so many begin at once; further ones wait in the order in which they came. */
class Turns {
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(max: number) {
    this.#free = max;
  }

  /** Whether nobody is in it. */
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
 * Histories on their way out. A member who asks for many and reads none of them holds few in memory: the next begins
 * when one of those before was read to its end, or its connection is gone.
 */
export class Outgoing {
  readonly #all = new Turns(readsMax.all);
  readonly #byMember = new Map<string, Turns>();

  /** Answers with JSON that is ASCII, made in its turn. Errors: those of `make`; rate_limited when no turn comes. */
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
      // What takes too long still holds its memory: its turn ends when it does.
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
