import cases from "../fixtures/handles.json" with { type: "json" };

/** A handle as entered, and as stored; null if it must be refused. */
export interface HandleCase {
  readonly name: string;
  readonly given: string;
  readonly stored: string | null;
}

/** Two handles that a person cannot tell apart. */
export interface LookCase {
  readonly name: string;
  readonly one: string;
  readonly other: string;
}

function storedOf(given: string, result: string): string | null {
  if (result === "refuse") return null;
  return result === "accept" ? given : result.slice("accept ".length);
}

/** Handles as people enter them, with the correct result. */
export const handleCases: readonly HandleCase[] = cases.handles.map(({ name, given, result }) => ({
  ...{ name, given, stored: storedOf(given, result) },
}));

/** Pairs of handles that look alike. */
export const lookCases: readonly LookCase[] = cases.same_look;
