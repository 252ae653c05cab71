/** Removes the byte order mark that some editors write at the start of a text. */
export function withoutByteOrderMark(text: string): string {
  return text.startsWith("\ufeff") ? text.slice(1) : text;
}
