import { fromBase64 } from "../../wire/encoding.ts";
import { type Dropped, decodeFrame, type Frame } from "../../wire/frame.ts";
import type { ControlPlane } from "../transport/control.ts";

/** Maximum number of frames in a page. Source: docs/protocol/history.md. */
const pageMax = 1_000;
/**
 * A page of at least this size may have been truncated: 8 MiB less one frame, in base64 characters.
 * Source: docs/protocol/history.md.
 */
const perhapsCut = Math.floor(((8 * 1_048_576 - 1_200_000) * 4) / 3);

/** Frames of a room in the order of publication. */
export interface Page {
  readonly frames: readonly (Frame | Dropped)[];
  /** Everything up to this sequence number has been read. */
  readonly upTo: number;
}

/** Decodes the frames of a page. Invalid base64 is decoded like an empty message, and dropped as that. */
export function framesOf(messages: readonly string[]): (Frame | Dropped)[] {
  return messages.map((text) => decodeFrame(fromBase64(text) ?? new Uint8Array()));
}

/**
 * The frames of a room after a sequence number, and none before it, oldest first, up to the last one at the time of the
 * call. A page is requested by its number of frames, which equals that of its sequence numbers, because rooms delete
 * only from their beginning. Errors: those of GET history.
 */
export async function* pagesAfter(
  control: ControlPlane,
  roomId: string,
  after: number,
  signal?: AbortSignal,
): AsyncGenerator<Page, void, void> {
  const { last_seq: end } = await control.history(roomId, { limit: 1 }, signal);
  let cursor = after;
  let step = pageMax;
  while (cursor < end) {
    const before = Math.min(cursor + step, end) + 1;
    const limit = Math.min(before - 1 - cursor, pageMax);
    const page = await control.history(roomId, { limit, before }, signal);
    const size = page.messages.reduce((sum, { length }) => sum + length, 0);
    const isCut = page.more && page.first_seq > cursor + 1 && (step > pageMax || size > perhapsCut);
    if (isCut && step > 1) {
      step = Math.floor(step / 2);
      continue;
    }
    cursor = before - 1;
    // Where a long range has been deleted, double the step until frames appear.
    step = page.messages.length === 0 ? step * 2 : pageMax;
    if (page.messages.length > 0) yield { frames: framesOf(page.messages), upTo: cursor };
  }
}
