/** BLAKE2b of one block, with big integers, for browsers. Source: RFC 7693. */

const blockBytes = 128;
const rounds = 12;

const iv: readonly bigint[] = [
  0x6a09e667f3bcc908n,
  0xbb67ae8584caa73bn,
  0x3c6ef372fe94f82bn,
  0xa54ff53a5f1d36f1n,
  0x510e527fade682d1n,
  0x9b05688c2b3e6c1fn,
  0x1f83d9abfb41bd6bn,
  0x5be0cd19137e2179n,
];

/** The order of the message's words in each round, in hex. The last two rounds repeat the first two. */
const orders: readonly string[] = [
  "0123456789abcdef",
  "ea489fd61c02b753",
  "b8c052fdae367194",
  "7931dcbe265a40f8",
  "905724afe1bc683d",
  "2c6a0b834d75fe19",
  "c51fed4a0763928b",
  "db7ec13950f4862a",
  "6fe9b308c2d714a5",
  "a2847615fb9e3cd0",
];

/** Rotates to the right. An array of 64-bit words cuts off what is above. */
const rotated = (word: bigint, by: bigint): bigint => (word >> by) | (word << (64n - by));

/** Mixes two words of the message into four of the state. */
function mix(state: BigUint64Array, places: readonly [number, number, number, number], x: bigint, y: bigint): void {
  const [a, b, c, d] = places;
  const word = (place: number) => state[place] ?? 0n;
  for (const [added, first, second] of [[x, 32n, 24n] as const, [y, 16n, 63n] as const]) {
    state[a] = word(a) + word(b) + added;
    state[d] = rotated(word(d) ^ word(a), first);
    state[c] = word(c) + word(d);
    state[b] = rotated(word(b) ^ word(c), second);
  }
}

/** The hash of at most 128 bytes, without a key. Shape: `size`, in bytes, is a multiple of 8 up to 64. */
export function blake2b(message: Uint8Array, size: number): Uint8Array {
  if (message.length > blockBytes) throw new RangeError(`at most ${blockBytes} bytes are hashed here`);
  const block = new Uint8Array(blockBytes);
  block.set(message);
  const view = new DataView(block.buffer);
  const start = iv.map((word, at) => (at === 0 ? word ^ 0x01010000n ^ BigInt(size) : word));
  const state = BigUint64Array.from([...start, ...iv]);
  state[12] = (iv[4] ?? 0n) ^ BigInt(message.length);
  state[14] = ~(iv[6] ?? 0n);
  for (let round = 0; round < rounds; round++) {
    const words = [...(orders[round % orders.length] ?? "")].map((at) =>
      view.getBigUint64(8 * Number.parseInt(at, 16), true),
    );
    for (let at = 0; at < 8; at++) {
      // Four columns, then four diagonals.
      const [column, shift] = [at % 4, at < 4 ? 0 : 1];
      const [b, c, d] = [1, 2, 3].map((row) => 4 * row + ((column + row * shift) % 4)) as [number, number, number];
      mix(state, [column, b, c, d], words[2 * at] ?? 0n, words[2 * at + 1] ?? 0n);
    }
  }
  const result = new DataView(new ArrayBuffer(size));
  for (let at = 0; at < size / 8; at++) {
    result.setBigUint64(8 * at, (start[at] ?? 0n) ^ (state[at] ?? 0n) ^ (state[at + 8] ?? 0n), true);
  }
  return new Uint8Array(result.buffer);
}
