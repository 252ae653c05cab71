import type { Frame } from "../../wire/frame.ts";

/** How many frames are remembered. */
const framesMax = 65_536;

/** The name of a frame: its sender and id. */
export const frameKey = ({ from, id }: Pick<Frame, "from" | "id">): string => `${from}.${id}`;

/**
 * The verified frames of one room that were delivered, which is how the client recognizes replays and copies. Each has
 * a position in the order of delivery, by which a reader knows whether it had a frame. Source: docs/protocol/frames.md.
 */
export class FrameMemory {
  readonly #positions = new Map<string, number>();
  #next = 0;

  /** The position that the next new frame gets. */
  get next(): number {
    return this.#next;
  }

  /** Adds a frame. Returns its position, or null if it was delivered before. */
  add(frame: Frame): number | null {
    const key = frameKey(frame);
    if (this.#positions.has(key)) return null;
    this.#positions.set(key, this.#next);
    if (this.#positions.size > framesMax) {
      const oldest = this.#positions.keys().next().value;
      if (oldest !== undefined) this.#positions.delete(oldest);
    }
    return this.#next++;
  }

  /** The position of a frame that was delivered, or null. */
  positionOf(frame: Frame): number | null {
    return this.#positions.get(frameKey(frame)) ?? null;
  }
}
