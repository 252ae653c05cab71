import { token } from "./plugin.ts";

/** One thing that JetStream keeps and no row knows, or that a row names and JetStream lacks. */
export interface Finding {
  readonly kind: "stream_without_row" | "row_without_stream" | "consumer_without_device";
  readonly stream: string;
  /** The consumer, where it is about one. */
  readonly consumer?: string;
}

/** Compares what JetStream keeps with the rows of the store. */
export interface Doctor {
  /**
   * Everything that does not belong. Rooms that change meanwhile may show as findings that are none a moment later.
   * Errors: unavailable.
   */
  examine(): Promise<Finding[]>;
  /** Brings one finding in line, if it still is one: rows are right. Idempotent. Errors: unavailable. */
  mend(finding: Finding): Promise<void>;
}

/** The comparison of streams and rows. */
export const Doctor = token<Doctor>("doctor");
