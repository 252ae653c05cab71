import { readFileSync } from "node:fs";
import carried from "../../.cache/licenses/third-party" with { type: "file" };

/** A part of the executable. `license`: an SPDX expression, or a name where there is none. */
export interface Part {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  /** The package URL, by which registries and vulnerability databases know it. */
  readonly purl: string;
  /** The text of its licence, with its copyright notice. */
  readonly text: string;
}

/** All parts of the executable, unibus itself first, as the build collected them. */
export function carriedParts(): Part[] {
  return JSON.parse(readFileSync(carried, "utf8"));
}
