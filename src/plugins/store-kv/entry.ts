/** What a key holds. A key without a value has null, and the revision of its removal, or 0 where there was none. */
export interface Entry<T> {
  readonly value: T | null;
  readonly revision: number;
  /** When it was written, by the server's clock; 0 where nothing was. */
  readonly at: number;
  /** The size of the value as JSON. */
  readonly bytes: number;
}
