import type { LiveMessage } from "./line.ts";
import { Recent } from "./recent.ts";

/** How many messages are remembered to tell doubles, and how many may wait, while there are several lines. */
const rememberedMax = 200_000;

/** A source of messages, as far as the merge looks at it. */
interface Source {
  carries(subject: string): boolean;
}

/**
 * Makes one stream of what several lines bring. While two carry a subject, the older one speaks; what only the newer
 * brought waits, and comes when the older is gone. So each message comes once, in the order of its sender, although at
 * the moment of a swap either line may lack what the other has.
 */
export class Merge<L extends Source> {
  /** Oldest first, each with its place among all that ever were. */
  readonly #lines = new Map<L, number>();
  #count = 0;
  #delivered = new Recent(rememberedMax);
  readonly #held = new Map<string, { readonly place: number; readonly message: LiveMessage }>();

  /**
   * `keyOf` gives what two copies of a message have in common, or null for what comes at once, and twice if it came
   * twice: a line that is on its way out no longer brings what others wait for.
   */
  constructor(
    private readonly keyOf: (message: LiveMessage) => string | null,
    private readonly deliver: (message: LiveMessage) => void,
  ) {}

  /** The lines in use, oldest first. */
  get lines(): readonly L[] {
    return [...this.#lines.keys()];
  }

  /** Takes a line in, before it is subscribed to anything. */
  add(line: L): void {
    this.#lines.set(line, this.#count++);
  }

  /** Takes what a line brought. */
  take(line: L, message: LiveMessage): void {
    const place = this.#lines.get(line) ?? -1;
    const key = this.#lines.size === 1 && place !== -1 ? null : this.keyOf(message);
    if (key === null) {
      this.deliver(message);
      return;
    }
    const name = `${message.subject} ${key}`;
    if (this.#delivered.has(name)) return;
    const waits = this.#held.size < rememberedMax && this.#isCarriedBefore(place, message.subject);
    if (waits) this.#hold(name, place, message);
    else this.#pass(name, message);
  }

  /** Lets a line go: what waited for it comes now. */
  remove(line: L): void {
    if (!this.#lines.delete(line)) return;
    for (const [name, { place, message }] of this.#held) {
      if (!this.#isCarriedBefore(place, message.subject)) this.#pass(name, message);
    }
    if (this.#lines.size <= 1) this.#delivered = new Recent(rememberedMax);
  }

  /** What an older line brings, too, waits in the order of the older. */
  #hold(name: string, place: number, message: LiveMessage): void {
    if ((this.#held.get(name)?.place ?? place + 1) <= place) return;
    this.#held.delete(name);
    this.#held.set(name, { place, message });
  }

  #pass(name: string, message: LiveMessage): void {
    this.#held.delete(name);
    this.#delivered.add(name);
    this.deliver(message);
  }

  #isCarriedBefore(place: number, subject: string): boolean {
    for (const [line, before] of this.#lines) if (before < place && line.carries(subject)) return true;
    return false;
  }
}
