import { readFileSync } from "node:fs";
import carried from "../../.cache/licenses/third-party" with { type: "file" };

/** A component of the executable. `license` is an SPDX expression, or a name if there is none. */
export interface Part {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  /** The package URL, which registries and vulnerability databases use. */
  readonly purl: string;
  /** The licence text with its copyright notice. */
  readonly text: string;
}

/** All components of the executable, unibus itself first, as collected by the build. */
export function carriedParts(): Part[] {
  return JSON.parse(readFileSync(carried, "utf8"));
}
