import type { OwnClock } from "../../src/client/transport/clock.ts";

/** The wall clock and the steady clock of a computer, which a test can shift separately, in milliseconds. */
export class MovedClock implements OwnClock {
  wallBy = 0;
  steadyBy = 0;

  readonly wallMs = (): number => Date.now() + this.wallBy;
  readonly steadyMs = (): number => performance.now() + this.steadyBy;
}
