import { fromBase64 } from "../../wire/encoding.ts";
import { type Dropped, decodeFrame, type Frame } from "../../wire/frame.ts";
import type { ControlPlane } from "../transport/control.ts";

/** Maximum number of frames in a page. Source: docs/protocol/history.md. */
const pageMax = 1_000;

/** Frames of a room in the order of publication. */
export interface Page {
  readonly frames: readonly (Frame | Dropped)[];
  /** The sequence number of the first one. */
  readonly first: number;
  /** Everything up to this sequence number has been read. */
  readonly upTo: number;
}

/** Decodes the frames of a page. Invalid base64 is decoded like an empty message, and dropped as that. */
export function framesOf(messages: readonly string[]): (Frame | Dropped)[] {
  return messages.map((text) => decodeFrame(fromBase64(text) ?? new Uint8Array()));
}

/**
 * The frames of a room after a sequence number, oldest first, up to the last one at the time of the call or a later
 * one.
 * Erased frames have left gaps in the sequence numbers, which cost nothing. Errors: those of GET history.
 */
export async function* pagesAfter(
  control: ControlPlane,
  roomId: string,
  after: number,
  signal?: AbortSignal,
): AsyncGenerator<Page, void, void> {
  let end = Number.POSITIVE_INFINITY;
  for (let cursor = after; cursor < end; ) {
    const page = await control.history(roomId, { limit: pageMax, after: cursor }, signal);
    // A server that repeats its pages must not keep the client reading for ever.
    if (page.last_seq <= cursor) return;
    cursor = page.last_seq;
    yield { frames: framesOf(page.messages), first: page.first_seq, upTo: cursor };
    if (!page.more) return;
    // New frames may arrive as fast as they are read.
    if (end === Number.POSITIVE_INFINITY) end = (await control.history(roomId, { limit: 1 }, signal)).last_seq;
  }
}
