/** What the bodies of messages that change a timeline may be. Others have no effect. */
import { titleIn } from "../../wire/bodies.ts";

/** The longest emoji, in bytes: a family with skin tones has 41. */
const emojiBytesMax = 64;
/** A title of 100 characters has at most this many bytes. Spaces around it are cut off. */
const titleBytesMax = 1_024;

/** Kinds that are not shown as messages of their own: they change others, or the room. */
const changes = new Set(["edit", "delete", "react", "unreact", "pin", "title", "receipt", "ack"]);

/** Whether a message of this kind is an item of a timeline. */
export const isItemKind = (kind: string): boolean => !changes.has(kind);

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const lenient = new TextDecoder("utf-8");

function textIn(bytes: Uint8Array, bytesMax: number): string | null {
  if (bytes.length > bytesMax) return null;
  try {
    return strict.decode(bytes);
  } catch {
    return null;
  }
}

/** The body of a message as text. Bytes that are not UTF-8 become U+FFFD. */
export function shownText(data: Uint8Array): string {
  return lenient.decode(data);
}

/** Nothing that moves, hides or forges other text around it. */
const badInEmoji = /[\p{Cc}\p{Zs}\p{Zl}\p{Zp}\p{Bidi_Control}]/u;

/** The emoji of a reaction, or null if the body is not one. A short text, such as +1, is one, too. */
export function emojiIn(body: Uint8Array): string | null {
  const text = textIn(body, emojiBytesMax);
  return text === null || text === "" || badInEmoji.test(text) ? null : text;
}

/** The room's name for people, or null if the body is not a name. */
export function titleOf(body: Uint8Array): string | null {
  return body.length > titleBytesMax ? null : titleIn(body);
}
