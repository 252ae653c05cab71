import { InvalidArgumentError } from "commander";

/** Returns a parser for an integer in a range on the command line. */
export function countArgument(least: number, most: number): (text: string) => number {
  return (text) => {
    const count = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (count >= least && count <= most) return count;
    throw new InvalidArgumentError(`Write a whole number, ${least} to ${most}.`);
  };
}
