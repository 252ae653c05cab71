import { jetStreamErrors } from "../../nats/jetstream.ts";

/** The errors of the blob store for replies of JetStream. */
export const blobErrors = jetStreamErrors("the blob store is unavailable (try again)");

/** `unanswered` and `expectReply` of the blob store: see `JetStreamErrors`. */
export const { unanswered, expectReply } = blobErrors;
