/** What a workload is: figures with goals, each measured beside the limit that the machine sets in the same run. */

/** What one figure is to reach. None of the three: it is there to be read beside the others. */
export interface Goal {
  readonly unit: "ms" | "/s" | "MB" | "MB/s" | "";
  readonly atMost?: number;
  readonly atLeast?: number;
  /** The least share of the limit. */
  readonly ofLimit?: number;
}

/** One figure of a run, and what the parts that it is made of reach on their own. */
export interface Measured {
  readonly value: number;
  readonly limit?: number;
}

/** One thing that is measured. */
export interface Workload<Figure extends string = string> {
  readonly name: string;
  readonly goal: Readonly<Record<Figure, Goal>>;
  /** How it is measured, and what the limit is. */
  readonly recipe: string;
  run(): Promise<Readonly<Record<Figure, Measured>>>;
}

/** Declares a workload, so that the compiler sees that every figure is measured. */
export function workload<Figure extends string>(one: Workload<Figure>): Workload<Figure> {
  return one;
}

/** Whether a figure reaches its goal; null where there is none. */
export function isReached(goal: Goal, { value, limit }: Measured): boolean | null {
  const { atMost, atLeast, ofLimit } = goal;
  if (atMost === undefined && atLeast === undefined && ofLimit === undefined) return null;
  if (atMost !== undefined && value > atMost) return false;
  if (atLeast !== undefined && value < atLeast) return false;
  return ofLimit === undefined || (limit !== undefined && value / limit >= ofLimit);
}
