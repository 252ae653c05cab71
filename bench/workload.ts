/** The definition of a workload: figures with goals, each measured next to the machine's limit in the same run. */

/** The goal of one figure. If no bound is set, the figure is only for comparison with the others. */
export interface Goal {
  readonly unit: "ms" | "/s" | "MB" | "MB/s" | "";
  readonly atMost?: number;
  readonly atLeast?: number;
  /** The minimum share of the limit. */
  readonly ofLimit?: number;
}

/** One measured figure, and the limit that its parts reach on their own. */
export interface Measured {
  readonly value: number;
  readonly limit?: number;
}

/** One benchmark. */
export interface Workload<Figure extends string = string> {
  readonly name: string;
  readonly goal: Readonly<Record<Figure, Goal>>;
  /** How it is measured, and what the limit is. */
  readonly recipe: string;
  run(): Promise<Readonly<Record<Figure, Measured>>>;
}

/** Declares a workload; the types make the compiler check that every figure is measured. */
export function workload<Figure extends string>(one: Workload<Figure>): Workload<Figure> {
  return one;
}

/** Whether a figure reaches its goal; null if it has none. */
export function isReached(goal: Goal, { value, limit }: Measured): boolean | null {
  const { atMost, atLeast, ofLimit } = goal;
  if (atMost === undefined && atLeast === undefined && ofLimit === undefined) return null;
  if (atMost !== undefined && value > atMost) return false;
  if (atLeast !== undefined && value < atLeast) return false;
  return ofLimit === undefined || (limit !== undefined && value / limit >= ofLimit);
}
