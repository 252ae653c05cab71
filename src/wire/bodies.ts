/**
 * The bodies of messages, for the kinds whose body has a rule: pins, titles and deletions. Senders write them with
 * these functions. Readers ignore a body that they cannot read, and do not drop its message.
 * Source: docs/protocol/envelope.md.
 */
import { bytesOf, toHex } from "./encoding.ts";
import { UnibusError } from "./errors.ts";
import { checkShownText } from "./handles.ts";
import { isUlid } from "./names.ts";

/** The most pinned messages of a room. Source: docs/protocol/envelope.md. */
export const pinsMax = 50;
/** The longest title of a room, in characters (code points). Source: docs/protocol/envelope.md. */
export const titleLengthMax = 100;

const hashBytes = 32;
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function textIn(body: Uint8Array): string | null {
  try {
    return strictUtf8.decode(body);
  } catch {
    return null;
  }
}

/** Reads the ids of the pinned messages; null if the body is not a list of them. */
export function pinsIn(body: Uint8Array): readonly string[] | null {
  if (body.length === 0) return [];
  const ids = textIn(body)?.split("\n") ?? [];
  return ids.length >= 1 && ids.length <= pinsMax && ids.every(isUlid) ? ids : null;
}

/** Writes a list of pinned messages. Errors: invalid for more than 50, or for something that is not a message id. */
export function pinsBody(ids: readonly string[]): Uint8Array {
  const wrong = ids.find((id) => typeof id !== "string" || !isUlid(id));
  if (wrong !== undefined) {
    throw new UnibusError("invalid", `${JSON.stringify(wrong)} is not a message id (pin messages by their id)`);
  }
  if (ids.length > pinsMax) {
    throw new UnibusError("invalid", `${ids.length} messages to pin (pin at most ${pinsMax})`);
  }
  return bytesOf(ids.join("\n"));
}

/** Reads a room's title in its normal form; null if it breaks the rules, which are those of a handle. */
export function titleIn(body: Uint8Array): string | null {
  const text = textIn(body);
  try {
    return text === null ? null : checkShownText("title", text, titleLengthMax);
  } catch {
    return null;
  }
}

/** Writes a room's title. Errors: invalid, with the reason. */
export function titleBody(title: string): Uint8Array {
  return bytesOf(checkShownText("title", title, titleLengthMax));
}

/** Reads the hash of an erased frame, 64 hex digits; "" if none was erased; null if the body is neither. */
export function erasedHashIn(body: Uint8Array): string | null {
  return body.length === 0 || body.length === hashBytes ? toHex(body) : null;
}
