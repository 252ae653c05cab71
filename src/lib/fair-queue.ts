/**
 * Limits concurrency fairly across many keys, for clients that give up when they wait too long. Keys take turns (round
 * robin), so one busy key does not delay the others. Within a key the order is last in, first out: under overload the
 * oldest callers have given up already, and serving them first would serve no one in time.
 */

/** A caller that waits for its turn. */
interface Waiting {
  readonly resolve: (isItsTurn: boolean) => void;
  readonly timer: ReturnType<typeof setTimeout>;
  isOver: boolean;
}

/** The waiting callers of one key, newest last. Entries that gave up stay in it until they are half of it. */
interface Stack {
  waiting: Waiting[];
  live: number;
}

/** Runs at most `atOnce` works at a time. Keys take turns; within a key the newest caller goes first. */
export class FairQueue {
  #running = 0;
  #live = 0;
  /** The keys in round-robin order: the first one is next. */
  readonly #stacks = new Map<string, Stack>();

  /** `atOnce`: how many works run at a time. `waitingMax`: how many callers may wait, over all keys. */
  constructor(
    private readonly atOnce: number,
    private readonly waitingMax: number,
  ) {}

  /**
   * Runs `work` when its turn comes and returns its result. Returns null without running it if its turn does not come
   * within `waitMsMax` milliseconds, or if too many callers are waiting already.
   */
  async run<T>(key: string, waitMsMax: number, work: () => Promise<T>): Promise<{ readonly result: T } | null> {
    if (this.#running < this.atOnce) this.#running += 1;
    else if (this.#live >= this.waitingMax || !(await this.#turn(key, waitMsMax))) return null;
    try {
      return { result: await work() };
    } finally {
      this.#next();
    }
  }

  #turn(key: string, waitMsMax: number): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const stack = this.#stacks.get(key) ?? { waiting: [], live: 0 };
    const one: Waiting = { resolve, timer: setTimeout(() => this.#giveUp(key, stack, one), waitMsMax), isOver: false };
    stack.waiting.push(one);
    stack.live += 1;
    this.#live += 1;
    this.#stacks.set(key, stack);
    return promise;
  }

  #giveUp(key: string, stack: Stack, one: Waiting): void {
    one.isOver = true;
    this.#live -= 1;
    stack.live -= 1;
    if (stack.live === 0) this.#stacks.delete(key);
    else if (stack.live * 2 < stack.waiting.length) stack.waiting = stack.waiting.filter(({ isOver }) => !isOver);
    one.resolve(false);
  }

  /** Passes the free slot to the next key and moves that key to the end of the order. */
  #next(): void {
    const [first] = this.#stacks;
    if (first === undefined) {
      this.#running -= 1;
      return;
    }
    const [key, stack] = first;
    let newest = stack.waiting.pop();
    while (newest?.isOver === true) newest = stack.waiting.pop();
    this.#live -= 1;
    stack.live -= 1;
    this.#stacks.delete(key);
    if (stack.live > 0) this.#stacks.set(key, stack);
    clearTimeout(newest?.timer);
    newest?.resolve(true);
  }
}
