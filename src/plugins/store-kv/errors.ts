import { jetStreamErrors } from "../../nats/jetstream.ts";

/** The errors of the store for replies of JetStream. */
export const storeErrors = jetStreamErrors(
  "the store is unavailable (try again)",
  "the store is full (delete rooms or blobs, or raise nats-embedded.ctl_bytes_max)",
);

/** `unanswered` and `expectReply` of the store: see `JetStreamErrors`. */
export const { unanswered, expectReply } = storeErrors;
