/** A file to send, whatever it comes from. */
export interface FileSource {
  /** Its name, without a folder; null if it has none. */
  readonly name: string | null;
  readonly mediaType: string | null;
  /** In bytes; null if it is not known. */
  readonly size: number | null;
  /** Whether `open` may be called again. */
  readonly isRepeatable: boolean;
  /** The content from the beginning. */
  readonly open: () => AsyncIterable<Uint8Array>;
}
