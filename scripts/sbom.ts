/** Generates the software bill of materials of the executable, in CycloneDX 1.6: `dist/unibus.cdx.json`. */
import { createHash } from "node:crypto";
import type { Part } from "./licenses.ts";

/** A component of the SBOM. */
interface Component {
  readonly type: "application" | "library" | "platform" | "data";
  readonly "bom-ref": string;
  readonly name: string;
  readonly version: string;
  readonly purl: string;
  readonly licenses: readonly unknown[];
  readonly hashes?: readonly unknown[];
}

/** Converts a licence for CycloneDX: an SPDX id, an expression of several ids, or a plain name. */
function licensesOf(license: string): readonly unknown[] {
  if (/ (AND|OR) /.test(license)) return [{ expression: license }];
  return [{ license: license.includes(" ") ? { name: license } : { id: license } }];
}

const typeOf = ({ name }: Part): Component["type"] =>
  name === "nats-server"
    ? "application"
    : name === "Bun"
      ? "platform"
      : name.endsWith("data files")
        ? "data"
        : "library";

function componentOf(part: Part): Component {
  const { name, version, purl, license, hash } = part;
  const hashes = hash === undefined ? {} : { hashes: [hash] };
  return { type: typeOf(part), "bom-ref": purl, name, version, purl, licenses: licensesOf(license), ...hashes };
}

/** Which component contains which: unibus, nats-server or Bun. In CycloneDX: a component, then what it depends on. */
function dependenciesOf(self: string, parts: readonly Part[]): unknown[] {
  const insideOf = (name: string | undefined) => parts.filter(({ inside }) => inside === name).map(({ purl }) => purl);
  return [
    { ref: self, dependsOn: insideOf(undefined) },
    ...parts.map(({ name, purl }) => ({ ref: purl, dependsOn: insideOf(name) })),
  ];
}

/** Derives a UUID (version 8) from a text, so that the same input gives the same UUID and builds are reproducible. */
function uuidOf(text: string): string {
  const hex = createHash("sha256").update(text).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/**
 * Generates the SBOM of an executable. `own`: unibus itself; `parts`: the rest; `sha256`: of the executable, in hex.
 * Deterministic.
 */
export function sbomOf(own: Part, parts: readonly Part[], sha256: string): string {
  const bom = {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: `urn:uuid:${uuidOf(sha256)}`,
    version: 1,
    metadata: {
      component: {
        ...componentOf(own),
        type: "application",
        hashes: [{ alg: "SHA-256", content: sha256 }],
        properties: [{ name: "unibus:platform", value: `${process.platform}-${process.arch}` }],
      },
    },
    components: parts.map(componentOf),
    dependencies: dependenciesOf(own.purl, parts),
  };
  return `${JSON.stringify(bom, null, 2)}\n`;
}
