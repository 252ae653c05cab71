/**
 * The state of a key. Without a value: `value` is null, and `revision` is that of its removal, or 0 if it was never
 * written.
 */
export interface Entry<T> {
  readonly value: T | null;
  readonly revision: number;
  /** When it was written, by the server's clock in milliseconds since the epoch; 0 if never. */
  readonly at: number;
  /** The size of the value in bytes of JSON. */
  readonly bytes: number;
}
