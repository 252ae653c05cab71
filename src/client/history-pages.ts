import { fromBase64 } from "../wire/encoding.ts";
import type { ControlPlane } from "./control.ts";

/** The most frames of one page. Source: spec 8. */
const pageMax = 1_000;
/** A page of this size may have been cut short: 8 MiB less one frame, in characters of base64. Source: spec 8. */
const perhapsCut = Math.floor(((8 * 1_048_576 - 1_200_000) * 4) / 3);

/** Frames of a room as they were published, oldest first. */
export interface Page {
  readonly frames: readonly Uint8Array[];
  /** The last sequence up to which everything was read. */
  readonly upTo: number;
}

/** The bytes of a page's frames; what is no base64 is nothing, and is dropped as such. */
export function framesOf(messages: readonly string[]): Uint8Array[] {
  return messages.map((text) => fromBase64(text) ?? new Uint8Array());
}

/**
 * The frames of a room after a sequence and none before it, oldest first, until there are none at the moment of the
 * read. A page is asked for by its number of frames, which is that of its sequences: rooms delete from their beginning
 * alone. Errors: those of GET history.
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
    // Where nothing is left of a long time, the way is gone in growing steps.
    step = page.messages.length === 0 ? step * 2 : pageMax;
    if (page.messages.length > 0) yield { frames: framesOf(page.messages), upTo: cursor };
  }
}
