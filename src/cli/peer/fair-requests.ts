/**
 * The requests of a service that wait for a free place. Senders take turns, so that one who asks a lot delays only its
 * own requests. What waits is bounded: of one sender, and in total, where the sender with the most loses first.
 */
import type { Request } from "../../client/rooms/message.ts";

/** Limits of what waits: requests and bytes of one sender, and bytes in total. */
export const requestsWaitingMax = { ofSender: 250, senderBytes: 8 * 1_048_576, bytes: 64 * 1_048_576 } as const;

/** What matters of a request here. */
type Waiting = Pick<Request, "from" | "data">;

/** The waiting requests of one sender, oldest first. */
interface Line<R> {
  readonly requests: R[];
  bytes: number;
}

/** Waiting requests, in turns of their senders. */
export class FairRequests<R extends Waiting = Request> {
  /** By sender, in the order of their turns. */
  readonly #lines = new Map<string, Line<R>>();
  #bytes = 0;

  /** Adds a request. Returns the requests that are dropped for it, perhaps itself. */
  add(request: R): readonly R[] {
    const { from, data } = request;
    const line = this.#lines.get(from) ?? { requests: [], bytes: 0 };
    const isOver =
      line.requests.length >= requestsWaitingMax.ofSender || line.bytes + data.length > requestsWaitingMax.senderBytes;
    if (isOver) return [request];
    line.requests.push(request);
    this.#lines.set(from, line);
    this.#count(line, data.length);
    const dropped: R[] = [];
    while (this.#bytes > requestsWaitingMax.bytes) {
      const last = this.#dropOfLargest();
      if (last === undefined) break;
      dropped.push(last);
    }
    return dropped;
  }

  /** Takes the oldest request of the sender whose turn it is, or undefined if none waits. */
  next(): R | undefined {
    const [first] = this.#lines;
    if (first === undefined) return undefined;
    const [from, line] = first;
    const request = line.requests.shift();
    this.#count(line, -(request?.data.length ?? 0));
    this.#lines.delete(from);
    if (line.requests.length > 0) this.#lines.set(from, line);
    return request;
  }

  /** Drops the newest request of the sender with the most bytes. */
  #dropOfLargest(): R | undefined {
    const [largest] = [...this.#lines].sort(([, a], [, b]) => b.bytes - a.bytes);
    if (largest === undefined) return undefined;
    const [from, line] = largest;
    const last = line.requests.pop();
    this.#count(line, -(last?.data.length ?? 0));
    if (line.requests.length === 0) this.#lines.delete(from);
    return last;
  }

  #count(line: Line<R>, bytes: number): void {
    line.bytes += bytes;
    this.#bytes += bytes;
  }
}
