/**
 * Cuts chunks into pieces of `size` bytes; the last one may be smaller, and none is empty.
 * Shape: all pieces are views of one buffer, so each is valid until the next one is requested.
 */
export async function* piecesOf(chunks: AsyncIterable<Uint8Array>, size: number): AsyncGenerator<Uint8Array, void> {
  const buffer = new Uint8Array(size);
  let filled = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; ) {
      const taken = chunk.subarray(at, at + size - filled);
      buffer.set(taken, filled);
      filled += taken.length;
      at += taken.length;
      if (filled < size) continue;
      yield buffer;
      filled = 0;
    }
  }
  if (filled > 0) yield buffer.subarray(0, filled);
}
