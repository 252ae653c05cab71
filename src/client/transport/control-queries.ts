/** Selects users of the directory; all if it is empty. Source: docs/reference/http.md. */
export interface DirectoryQuery {
  /** Users whose handle looks the same. */
  readonly handle?: string;
  readonly endpoint?: string;
  readonly sign_pub?: string;
  /** The last endpoint of the previous page. */
  readonly after?: string | null;
  readonly limit?: number;
}

/** Selects a page of a room's history: the last frames if no place is given. At most one place. */
export interface HistoryRequest {
  readonly limit?: number;
  /** Only frames before this sequence number. */
  readonly before?: number;
  /** Only frames after this sequence number. */
  readonly after?: number;
  /** Only frames stored at this time or later, RFC 3339. */
  readonly since?: string;
}
