/**
 * Limits on memberships that a user was given without consent. A membership is unaccepted from the add until its member
 * accepts it, leaves, or is removed. Source: docs/protocol/limits.md.
 */
import { UnibusError } from "../wire/errors.ts";

/** The unaccepted memberships of one user, counted before another is added. */
export interface UnacceptedCounts {
  readonly all: number;
  /** Those added by the adder in question. */
  readonly ofAdder: number;
  /** The number of different adders. */
  readonly adders: number;
}

/** The limits on the unaccepted memberships of one user. */
export interface UnacceptedLimits {
  /** The most that one adder may have with one user. */
  readonly perAdder: number;
  /** From this total on, no adder may have more than an equal share of it. */
  readonly sharedFrom: number;
}

/** The default limits of a bus. */
export const unacceptedLimits: UnacceptedLimits = { perAdder: 100, sharedFrom: 10_000 };

/**
 * Reports whether an adder has to wait until the user has accepted or left some rooms. An adder without any unaccepted
 * membership with this user is never refused, so no one can keep others from adding the user.
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
  const message = `${endpoint} has too many unaccepted rooms from you (ask them to accept or leave some)`;
  return new UnibusError("quota", message);
}
