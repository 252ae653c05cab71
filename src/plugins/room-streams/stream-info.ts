import type { ApiReply } from "../../nats/jetstream.ts";

/** A stream, as JetStream describes it. */
export interface StreamInfo extends ApiReply {
  readonly config: Readonly<Record<string, unknown>>;
  /** RFC 3339. */
  readonly created: string;
  /** Where the stream has copies: which node leads it; no name while that is being decided. */
  readonly cluster?: { readonly leader?: string };
  readonly state: {
    readonly messages: number;
    readonly bytes: number;
    readonly first_seq: number;
    readonly last_seq: number;
  };
}
