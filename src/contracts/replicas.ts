import { token } from "./plugin.ts";

/** The replica count of the control plane, which room streams follow. Source: docs/protocol/history.md. */
export interface Replicas {
  /** The current count; it may be some seconds old. Errors: unavailable. */
  count(): Promise<number>;
}

/** The token of the replica count. Without a provider the count is 1. */
export const Replicas = token<Replicas>("replicas");
