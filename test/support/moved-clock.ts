import type { OwnClock } from "../../src/client/transport/clock.ts";

/** A computer's clocks that a test moves, apart from each other, in milliseconds. */
export class MovedClock implements OwnClock {
  wallBy = 0;
  steadyBy = 0;

  readonly wallMs = (): number => Date.now() + this.wallBy;
  readonly steadyMs = (): number => performance.now() + this.steadyBy;
}
