import { token } from "./plugin.ts";

/** One inconsistency between JetStream and the store: an object without a row, or a row without its object. */
export interface Finding {
  readonly kind: "stream_without_row" | "row_without_stream" | "consumer_without_device";
  readonly stream: string;
  /** The consumer, if the finding is about one. */
  readonly consumer?: string;
}

/** Compares JetStream's streams and consumers with the rows of the store. */
export interface Doctor {
  /**
   * Lists every inconsistency. A room that changes during the run may yield findings that no longer hold a moment
   * later.
   * Errors: unavailable.
   */
  examine(): Promise<Finding[]>;
  /** Repairs one finding if it still holds: JetStream is changed to match the rows. Idempotent. Errors: unavailable. */
  fix(finding: Finding): Promise<void>;
}

/** The token of the doctor service. */
export const Doctor = token<Doctor>("doctor");
