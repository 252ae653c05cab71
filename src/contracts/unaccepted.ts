/**
 * How many memberships a user may be given without having been asked. A membership counts here from the add until its
 * member accepts it, leaves, or is removed. Source: spec 9, "The grant is bounded and fair".
 */
import { UnibusError } from "../wire/errors.ts";

/** The unaccepted memberships of one user, counted before another one is added. */
export interface UnacceptedCounts {
  readonly all: number;
  /** Those that the same adder began. */
  readonly ofAdder: number;
  /** How many different adders began them. */
  readonly adders: number;
}

/** The limits on unaccepted memberships of one user. */
export interface UnacceptedLimits {
  /** The most that one adder may have with one user. */
  readonly perAdder: number;
  /** From this many on, no adder may have more than an equal share of them. */
  readonly sharedFrom: number;
}

/** The limits of a bus. */
export const unacceptedLimits: UnacceptedLimits = { perAdder: 100, sharedFrom: 10_000 };

/**
 * Whether an adder has to wait until the user has accepted or left some rooms. An adder who has none with this user is
 * never refused, so that nobody can keep others from adding the user.
 */
export function isOverUnaccepted(
  { all, ofAdder, adders }: UnacceptedCounts,
  { perAdder, sharedFrom }: UnacceptedLimits,
): boolean {
  if (ofAdder === 0) return false;
  return ofAdder >= perAdder || (all >= sharedFrom && ofAdder >= sharedFrom / adders);
}

/** The error for an adder who has to wait. */
export function unacceptedQuota(endpoint: string): UnibusError {
  const message = `${endpoint} has not accepted the rooms that you added them to (ask them to accept or leave some)`;
  return new UnibusError("quota", message);
}
