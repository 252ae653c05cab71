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

/** Reads of a bucket that never miss a write that was acknowledged before them. linearizable/ implements it. */
export interface LinearizableReads {
  /** Reads a subject. `fromLeader` reads it from the leader of the bucket's stream. Errors: unavailable. */
  read<T>(subject: string, fromLeader: () => Promise<Entry<T>>): Promise<Entry<T>>;
}
