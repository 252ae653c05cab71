import { token } from "./plugin.ts";

/** How many copies of the control plane there are, which room streams follow. Source: spec 8. */
export interface Replicas {
  /** The number now; it may be some seconds old. Errors: unavailable. */
  count(): Promise<number>;
}

/** The copies of the control plane. Where nobody provides it there is one. */
export const Replicas = token<Replicas>("replicas");
