/**
 * Runs work a few at a time on behalf of many keys, for clients that give up when they wait too long. Keys take turns,
 * so that one key with much work does not make the others wait. Within a key the newest comes first: when there is more
 * than can be done, the oldest have given up, and a queue that served them first would serve nobody any more.
 */

/** One that waits for its turn. */
interface Waiting {
  readonly resolve: (isItsTurn: boolean) => void;
  readonly timer: ReturnType<typeof setTimeout>;
  isOver: boolean;
}

/** What waits for one key, the newest last. Some of it is over: it is taken out when that is half of all. */
interface Stack {
  waiting: Waiting[];
  live: number;
}

/** Runs work a few at a time: keys take turns, and the newest of a key comes first. */
export class FairQueue {
  #running = 0;
  #live = 0;
  /** The key whose turn is next comes first. */
  readonly #stacks = new Map<string, Stack>();

  /** `atOnce`: how much runs at a time. `waitingMax`: how much waits, over all keys. */
  constructor(
    private readonly atOnce: number,
    private readonly waitingMax: number,
  ) {}

  /**
   * Runs `work` when its turn comes, and gives its result. Null, without running it, if its turn does not come within
   * `waitMsMax` milliseconds, or if too much waits already.
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

  /** Hands the place of what has ended to the next key, which then stands behind the others. */
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
