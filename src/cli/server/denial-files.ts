/** Reads and writes the denials files of `restore`. */
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { type Denial, denialLine, denialsFile, parseDenials } from "../../contracts/denials.ts";
import { UnibusError } from "../../wire/errors.ts";

/** The denials file of a data directory, or null if there is none. */
export function ownDenials(dataDir: string): string | null {
  const file = join(dataDir, denialsFile);
  return existsSync(file) ? file : null;
}

/**
 * Reads denials from files, without duplicates, sorted by time. Errors: not_found; invalid, naming the damaged line.
 */
export function readDenials(files: readonly string[]): Denial[] {
  const found = new Map<string, Denial>();
  for (const file of files) {
    if (!existsSync(file)) throw new UnibusError("not_found", `no such file: ${file} (name a file of denials)`);
    const { denials, fault } = parseDenials(readFileSync(file, "utf8"));
    if (fault !== null) {
      const fix = "correct the line, or remove it if it is a part of another one";
      throw new UnibusError("invalid", `${file}, line ${fault} is not a denial (${fix})`);
    }
    for (const denial of denials) found.set(denialLine(denial), denial);
  }
  return [...found.values()].sort((a, b) => a.at - b.at);
}

/** Appends the missing denials to a data directory's file. */
export function keepDenials(dataDir: string, denials: readonly Denial[]): void {
  const file = ownDenials(dataDir);
  const known = new Set(file === null ? [] : readDenials([file]).map(denialLine));
  const missing = denials.map(denialLine).filter((line) => !known.has(line));
  if (missing.length === 0) return;
  const handle = openSync(join(dataDir, denialsFile), "a", 0o600);
  try {
    writeSync(handle, missing.join(""));
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
