/** Defines a mutant: one edit of the source that removes a limit, and the tests that must detect it. */

/** A test file and, if it also contains slow unrelated tests, a filter for the relevant ones. */
export interface Holder {
  /** Path from the root. */
  readonly file: string;
  /** A regular expression over test names. Default: every test of the file. */
  readonly test?: string;
}

/** A mutant: one limit, and the edit that removes it. */
export interface Mutant {
  /** The limit that this edit removes: a unique name, and the argument of `npm run soak -- mutants NAME`. */
  readonly name: string;
  /** Path of the source file from the root. */
  readonly file: string;
  /** Text that occurs exactly once in the file. */
  readonly search: string;
  /** The replacement. */
  readonly replace: string;
  /** Tests that pass without the edit, at least one of which fails with it. */
  readonly held: readonly Holder[];
}

/** Counts the occurrences of a text in another one. */
export function occurrences(text: string, search: string): number {
  return text.split(search).length - 1;
}

/** Applies the edit. Errors: if the search text does not occur exactly once, or if nothing changes. */
export function mutated(source: string, { name, file, search, replace }: Mutant): string {
  const count = occurrences(source, search);
  if (count !== 1) throw new Error(`${name}: its search text occurs ${count} times in ${file} (make it occur once)`);
  if (search === replace) throw new Error(`${name}: it changes nothing`);
  return source.replace(search, () => replace);
}
