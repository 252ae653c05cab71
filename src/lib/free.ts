/**
 * Frees the memory of bytes that nothing uses any more, if they are all of their buffer. Garbage collection does it,
 * too, but so late that a large transfer takes tens of megabytes more. Does nothing without `ArrayBuffer.transfer`.
 */
export function free({ buffer, byteLength }: Uint8Array): void {
  if (byteLength === buffer.byteLength) (buffer as Partial<ArrayBuffer>).transfer?.(0);
}
