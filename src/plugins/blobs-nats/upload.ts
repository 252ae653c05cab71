import type { UnibusError } from "../../wire/errors.ts";
import { type Calls, expectReply, type Stored, unanswered } from "./calls.ts";
import { blobStream, expectedLast, expectedLastOf, isLost, purge, subjects } from "./stream.ts";

/** How large a chunk is, in bytes, but the last of a blob. */
const chunkBytes = 524_288;

/** What became of an upload, as its `open` subject says last. */
export type UploadState = "open" | "done" | "void";

/** The error for an upload that was given up behind the back of whoever sends it. */
function sweptAway(): UnibusError {
  return unanswered("the upload was swept away");
}

/** The sequence of what was stored. Errors: unavailable; what JetStream said is the cause. */
export function expectStored(reply: Stored): number {
  const { stream, seq } = expectReply(reply);
  if (stream !== blobStream) throw unanswered(`an ack of ${stream}`);
  return seq;
}

/** Ends an upload that was not committed, so that it never can be. False when it is over already. */
export async function giveUp(calls: Calls, upload: string, marker: number): Promise<boolean> {
  const state: UploadState = "void";
  const subject = subjects.open(upload);
  const reply = await calls.publish({ subject, payload: state, headers: { [expectedLast]: String(marker) } });
  if (isLost(reply)) return false;
  expectStored(reply);
  await purge(calls, subjects.chunk(upload));
  await purge(calls, subject);
  return true;
}

/** Chunks of one size out of chunks of any, in two buffers by turns: a chunk holds until the next but one comes. */
async function* evened(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const buffers: Uint8Array[] = [];
  let turn = 0;
  let filled = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.byteLength; ) {
      buffers[turn] ??= new Uint8Array(chunkBytes);
      const buffer = buffers[turn] as Uint8Array;
      const part = chunk.subarray(at, at + chunkBytes - filled);
      buffer.set(part, filled);
      at += part.byteLength;
      filled += part.byteLength;
      if (filled < chunkBytes) continue;
      yield buffer;
      turn = 1 - turn;
      filled = 0;
    }
    // Freed now: what waits for the garbage collection grows with every upload that is under way.
    if (chunk.byteLength === chunk.buffer.byteLength) (chunk.buffer as ArrayBuffer).transfer(0);
  }
  if (filled > 0) yield (buffers[turn] as Uint8Array).subarray(0, filled);
}

/** What an upload came to before it was committed. */
export interface Received {
  readonly hash: string;
  readonly size: number;
  /** How many chunks there are, and the sequence of the first; 0 where there are none. */
  readonly chunks: number;
  readonly first: number;
}

/**
 * One upload: its `open` subject says that it is under way, and every write of it holds only while it does. So whoever
 * gives it up, this node or a sweep of another, can be sure that nothing of it comes later.
 */
export class Upload {
  readonly id = crypto.randomUUID().replaceAll("-", "");
  readonly #calls: Calls;
  #marker = 0;

  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /** The sequence on which what belongs to this upload depends. */
  get marker(): number {
    return this.#marker;
  }

  /** Stores what comes, each chunk while the next one comes. Errors: those of `chunks`; unavailable. */
  async receive(chunks: AsyncIterable<Uint8Array>, known: string | null): Promise<Received> {
    await this.#open();
    const hasher = known === null ? new Bun.CryptoHasher("sha256") : null;
    let writing: Promise<number> = Promise.resolve(0);
    const result = { size: 0, chunks: 0, first: 0 };
    try {
      for await (const chunk of evened(chunks)) {
        hasher?.update(chunk);
        const seq = await writing;
        if (result.chunks === 1) result.first = seq;
        writing = this.#write(chunk);
        // Told when it is awaited: until then the next chunk may be long in coming.
        writing.catch(() => undefined);
        result.size += chunk.byteLength;
        result.chunks += 1;
      }
    } finally {
      const seq = await writing;
      if (result.chunks === 1) result.first = seq;
    }
    return { ...result, hash: known ?? hasher?.digest("hex") ?? "" };
  }

  /** Gives it up. Gives false when it was over already: committed, or given up by a sweep. Errors: unavailable. */
  async giveUp(): Promise<boolean> {
    return this.#marker === 0 || (await giveUp(this.#calls, this.id, this.#marker));
  }

  async #open(): Promise<void> {
    const state: UploadState = "open";
    const headers = { [expectedLast]: "0" };
    this.#marker = expectStored(
      await this.#calls.publish({ subject: subjects.open(this.id), payload: state, headers }),
    );
  }

  async #write(chunk: Uint8Array): Promise<number> {
    const headers = { [expectedLast]: String(this.#marker), [expectedLastOf]: subjects.open(this.id) };
    const reply = await this.#calls.publish({ subject: subjects.chunk(this.id), payload: chunk, headers });
    if (isLost(reply)) throw sweptAway();
    return expectStored(reply);
  }
}
