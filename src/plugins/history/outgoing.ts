import { inTime } from "../../contracts/deadline.ts";
import { type RawReply, rawReply } from "../../contracts/plugin.ts";
import { Semaphore } from "../../lib/semaphore.ts";
import { UnibusError } from "../../wire/errors.ts";

/** Limits on concurrent history replies, per member and in total. Further reads wait. */
const readsMax = { member: 4, all: 16 } as const;
/** Timeout for one history read, including its wait, in milliseconds. Source: docs/protocol/history.md. */
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

/**
 * Limits history replies in memory. A member who requests many and reads none holds only a few: the next read starts
 * when an earlier reply has been read to its end or its connection is closed.
 */
export class Outgoing {
  readonly #all = new Semaphore(readsMax.all);
  readonly #byMember = new Map<string, Semaphore>();

  /**
   * Replies with ASCII JSON from `make`, run when its turn comes. Errors: those of `make`; rate_limited; unavailable.
   */
  async reply(member: string, make: () => Promise<string>): Promise<RawReply> {
    const began = performance.now();
    const end = await this.#turn(member);
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

  /** Waits for a turn of the member, then for one of all. The returned function ends both. Errors: rate_limited. */
  async #turn(member: string): Promise<() => void> {
    const mine = this.#byMember.get(member) ?? new Semaphore(readsMax.member);
    this.#byMember.set(member, mine);
    const wait = { withinMs: timeoutMs, late: tooMany };
    const releaseMine = await mine.take(wait);
    const endMine = (): void => {
      releaseMine();
      if (mine.isIdle && this.#byMember.get(member) === mine) this.#byMember.delete(member);
    };
    const releaseAll = await this.#all.take(wait).catch((error: unknown) => {
      endMine();
      throw error;
    });
    return () => {
      releaseAll();
      endMine();
    };
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
