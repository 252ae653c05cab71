/** What a mutant is: one edit of the source that takes a limit out, and the tests that must notice it. */

/** A test file, and where it has slow neighbours the tests in it that hold the limit. */
export interface Holder {
  /** Path from the root. */
  readonly file: string;
  /** A regular expression over test names. Default: every test of the file. */
  readonly test?: string;
}

/** One limit, and what is left of the code when it is gone. */
export interface Mutant {
  /** The limit that this edit removes: unique, and what `npm run soak -- mutants NAME` takes. */
  readonly name: string;
  /** The source file, by its path from the root. */
  readonly file: string;
  /** Text that occurs exactly once in the file. */
  readonly search: string;
  /** What takes its place. */
  readonly replace: string;
  /** Tests that pass without the edit and of which one fails with it. */
  readonly held: readonly Holder[];
}

/** How often a text occurs in another one. */
export function occurrences(text: string, search: string): number {
  return text.split(search).length - 1;
}

/** The source with the edit. Errors: where the search text does not occur exactly once, or nothing changes. */
export function mutated(source: string, { name, file, search, replace }: Mutant): string {
  const count = occurrences(source, search);
  if (count !== 1) throw new Error(`${name}: its search text occurs ${count} times in ${file} (make it occur once)`);
  if (search === replace) throw new Error(`${name}: it changes nothing`);
  return source.replace(search, () => replace);
}
