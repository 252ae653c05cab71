import type { JetStream, PublishReply } from "../../nats/jetstream.ts";
import type { UnibusError } from "../../wire/errors.ts";
import { expectReply, unanswered } from "./errors.ts";
import { blobStream, expectedLast, expectedLastOf, isLost, purge, subjects } from "./stream.ts";

/** Chunk size in bytes. Only the last chunk of a blob is smaller. */
const chunkBytes = 524_288;

/** The state of an upload: the last message on its `open` subject. */
export type UploadState = "open" | "done" | "void";

/** The error for an upload that a sweep gave up while its client was still sending. */
function sweptAway(): UnibusError {
  return unanswered("a sweep removed the upload");
}

/** The sequence of a stored message. Errors: unavailable, with JetStream's error as the cause. */
function expectStored(reply: PublishReply): number {
  const { stream, seq } = expectReply(reply);
  if (stream !== blobStream) throw unanswered(`an ack from ${stream}`);
  return seq;
}

/** Gives up an uncommitted upload, so that it can never be committed. Returns false if it has ended already. */
export async function giveUp(js: JetStream, upload: string, marker: number): Promise<boolean> {
  const state: UploadState = "void";
  const subject = subjects.open(upload);
  const reply = await js.publish({ subject, payload: state, headers: { [expectedLast]: String(marker) } });
  if (isLost(reply)) return false;
  expectStored(reply);
  await purge(js, subjects.chunk(upload));
  await purge(js, subject);
  return true;
}

/** Re-chunks a stream to a fixed size in two alternating buffers. A chunk stays valid until the next but one. */
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
    // Freed now: memory that waits for garbage collection would grow with every upload in progress.
    if (chunk.byteLength === chunk.buffer.byteLength) (chunk.buffer as ArrayBuffer).transfer(0);
  }
  if (filled > 0) yield (buffers[turn] as Uint8Array).subarray(0, filled);
}

/** The result of an upload before its commit. */
export interface Received {
  readonly hash: string;
  readonly size: number;
  /** The number of chunks, and the sequence of the first one. Both are 0 for an empty blob. */
  readonly chunks: number;
  readonly first: number;
}

/**
 * One upload. Its `open` subject marks it as in progress, and every write of it is conditional on that mark. So the
 * node that gives it up, this one or another node's sweep, can be sure that no later write of it succeeds.
 */
export class Upload {
  readonly id = crypto.randomUUID().replaceAll("-", "");
  readonly #js: JetStream;
  #marker = 0;

  constructor(js: JetStream) {
    this.#js = js;
  }

  /** The sequence of the mark on which every write of this upload depends. */
  get marker(): number {
    return this.#marker;
  }

  /** Stores chunks, each while the next one arrives. Errors: those of `chunks`; unavailable. */
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
        // The error is thrown at the next await. Until then the next chunk may be a long time coming.
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

  /** Gives up the upload. Returns false if it had ended: committed, or given up by a sweep. Errors: unavailable. */
  async giveUp(): Promise<boolean> {
    return this.#marker === 0 || (await giveUp(this.#js, this.id, this.#marker));
  }

  async #open(): Promise<void> {
    const state: UploadState = "open";
    const headers = { [expectedLast]: "0" };
    this.#marker = expectStored(await this.#js.publish({ subject: subjects.open(this.id), payload: state, headers }));
  }

  async #write(chunk: Uint8Array): Promise<number> {
    const headers = { [expectedLast]: String(this.#marker), [expectedLastOf]: subjects.open(this.id) };
    const reply = await this.#js.publish({ subject: subjects.chunk(this.id), payload: chunk, headers });
    if (isLost(reply)) throw sweptAway();
    return expectStored(reply);
  }
}
