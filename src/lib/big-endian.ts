/** Reads and writes unsigned big-endian integers, the byte order of every number in the binary formats. */

const inRange = (value: number | bigint, bits: number): boolean =>
  typeof value === "bigint" ? value >= 0n && value < 1n << BigInt(bits) : value >= 0 && value < 2 ** bits;

function checked<T extends number | bigint>(value: T, bits: number): T {
  if ((typeof value === "number" && !Number.isInteger(value)) || !inRange(value, bits)) {
    throw new RangeError(`${value} is not an unsigned integer of ${bits} bits`);
  }
  return value;
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

/** Reads 16 bits at an offset. Errors: RangeError past the end. */
export function readU16(bytes: Uint8Array, at = 0): number {
  return viewOf(bytes).getUint16(at);
}

/** Reads 32 bits at an offset. Errors: RangeError past the end. */
export function readU32(bytes: Uint8Array, at = 0): number {
  return viewOf(bytes).getUint32(at);
}

/** Reads 64 bits at an offset. Errors: RangeError past the end. */
export function readU64(bytes: Uint8Array, at = 0): bigint {
  return viewOf(bytes).getBigUint64(at);
}

/** Encodes a number as 1 byte. Errors: RangeError if it does not fit. */
export function u8(value: number): Uint8Array {
  return Uint8Array.of(checked(value, 8));
}

/** Encodes a number as 2 bytes. Errors: RangeError if it does not fit. */
export function u16(value: number): Uint8Array {
  checked(value, 16);
  return Uint8Array.of(value >>> 8, value & 0xff);
}

/** Encodes a number as 4 bytes. Errors: RangeError if it does not fit. */
export function u32(value: number): Uint8Array {
  checked(value, 32);
  return Uint8Array.of(value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff);
}

/** Encodes a number as 8 bytes. Errors: RangeError if it does not fit. */
export function u64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  viewOf(bytes).setBigUint64(0, checked(value, 64));
  return bytes;
}

/** Joins byte strings. */
export function joinBytes(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
